"""The mathematics of the search: linear steps, feasible starts, Frank-Wolfe and projection.

Functions on NumPy arrays, in float64, that know nothing of networks or of TensorFlow.
"""

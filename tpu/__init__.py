"""The training engine: compiled loops of many steps, crash-safe checkpoints, exact resume.

It knows nothing of what it trains. A program describes its training as a `phase.Phase` and gives
it to `engine.run_phase`, on the devices of `strategy.strategy_for`; `estimator.Estimator` puts a
Keras model, its devices and all of this into one object that trains, evaluates, predicts, exports.
"""

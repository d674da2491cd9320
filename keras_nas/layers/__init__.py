"""Keras layers; they take plain numbers and know nothing of search spaces."""

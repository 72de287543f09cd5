"""Skyspotter's machine-learning half: network, data, training, export and prediction."""

__version__ = "0.1.0"

"""Skyspotter's HTTP half: one FastAPI app around a predictor."""

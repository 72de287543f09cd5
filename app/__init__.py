"""The HTTP service: a FastAPI app around a predictor."""

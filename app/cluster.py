"""The old name of `app/ray_serve.py`, which deployment files use: `app.cluster:service`."""

from app.ray_serve import deployment, middleware, service

__all__ = ["deployment", "middleware", "service"]

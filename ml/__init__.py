"""Skyspotter's machine-learning half: network, data, training, export, prediction."""

import os

__version__ = "0.1.0"

# ONNX Runtime's own packages report to their maker and keep a mark of the machine on disk, in
# HOME or TMPDIR, from the moment that they are imported. What is served is nobody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""Skyspotter's machine learning: network, data, training, export, prediction."""

import os

__version__ = "0.1.0"

# ONNX Runtime's packages send telemetry and write a machine identifier to HOME or TMPDIR as soon
# as they are imported. This turns it off.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

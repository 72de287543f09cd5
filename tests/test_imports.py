import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["app", "app.main", "app.handler", "ml.predictor", "ml.cli.main"]
)
def test_serving_does_not_import_training_packages(module: str) -> None:
    heavy = {"torch", "torchvision", "sklearn", "scipy", "onnx", "safetensors"}
    heavy |= {"matplotlib", "jinja2"}
    code = f"import sys, {module}; print(*({heavy!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_ml_does_not_import_app() -> None:
    found = "[m for m in sys.modules if m.startswith('app')]"
    code = f"import sys, ml.runs.run, ml.cli.main; print({found})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

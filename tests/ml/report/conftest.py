import shutil
from pathlib import Path
from typing import Any

import pytest

from ml.data.image_folder import ImageFolder, scan
from ml.data.split import split_folder
from ml.evaluation.evaluate import evaluate
from ml.models.card import Split
from ml.models.checkpoint import SHIPPED_PARAMETERS
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.report.page import write_report
from tests.ml.report.helpers import write_history, write_json, write_predictions


@pytest.fixture(scope="module")
def folder(drawn: Path) -> ImageFolder:
    return split_folder(scan(drawn), Split())


@pytest.fixture(scope="module")
def finished(
    folder: ImageFolder, shipped: Predictor, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run that appears to have trained the shipped model, with its report."""
    run = tmp_path_factory.mktemp("run")
    classes = shipped.card.classes
    write_json(run / "config.json", {"data": str(folder.root), "epochs": 3, "batch": 32})
    write_json(run / "data.json", folder.summary())
    held_out = {split: folder.of(split) for split in ("validation", "test")}
    metrics: dict[str, Any] = {name: evaluate(shipped, of) for name, of in held_out.items()}
    metrics["training"] = {"seconds": 3725.4, "images_per_second": 31.3, "best_epoch": 2}
    write_json(run / "metrics.json", metrics)
    write_history(run, classes, 3)
    samples = [*held_out["validation"], *held_out["test"]]
    files = [(s.split, f"{s.label}/{s.path.name}", s.label) for s in samples]
    probabilities = [[*shipped.predict(s.path).probabilities.values()] for s in samples]
    write_predictions(run, files, classes, probabilities)
    shutil.copy(SHIPPED_MODEL, run / "model.onnx")
    shutil.copy(SHIPPED_PARAMETERS, run / "model.safetensors")
    write_report(run)
    return run

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
from tests.ml.report.helpers import write_answers, write_history, write_json


@pytest.fixture(scope="module")
def folder(drawn: Path) -> ImageFolder:
    return split_folder(scan(drawn), Split())


@pytest.fixture(scope="module")
def finished(
    folder: ImageFolder, shipped: Predictor, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run, as if the shipped model were what it trained, with its report."""
    run = tmp_path_factory.mktemp("run")
    classes = shipped.card.classes
    write_json(run / "config.json", {"data": str(folder.root), "epochs": 3, "batch": 32})
    write_json(run / "data.json", folder.summary())
    held_out = {split: folder.of(split) for split in ("validation", "test")}
    scores: dict[str, Any] = {name: evaluate(shipped, of) for name, of in held_out.items()}
    scores["training"] = {"seconds": 3725.4, "images_per_second": 31.3, "best_epoch": 2}
    write_json(run / "metrics.json", scores)
    write_history(run, classes, 3)
    samples = [*held_out["validation"], *held_out["test"]]
    files = [(s.split, f"{s.label}/{s.path.name}", s.label) for s in samples]
    answers = [[*shipped.predict(s.path).probabilities.values()] for s in samples]
    write_answers(run, files, classes, answers)
    shutil.copy(SHIPPED_MODEL, run / "model.onnx")
    shutil.copy(SHIPPED_PARAMETERS, run / "model.safetensors")
    write_report(run)
    return run

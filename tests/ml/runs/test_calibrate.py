import csv
import json
import math
import shutil
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ml.data.image_folder import ImageFolder, scan
from ml.data.split import split_folder
from ml.errors import DataError
from ml.evaluation.evaluate import true_classes
from ml.evaluation.metrics import calibration_error
from ml.export.onnx import stamp
from ml.models.card import Split
from ml.models.checkpoint import load, parameters_of, save
from ml.models.probability import probabilities
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.run_folder import read_predictions, suspected_label_errors
from ml.runs.calibrate import (
    CalibrationResult,
    calibrate,
    recalibrate,
    show_calibration,
    write_predictions,
)


@pytest.fixture(scope="module")
def folder(drawn: Path) -> ImageFolder:
    """The drawn set, two thirds of it for calibration: 26 photos, and 12 to test."""
    return split_folder(scan(drawn), Split(validation=0.9))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped model with one view, which is quicker, without parameters beside it."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    shutil.copy(SHIPPED_MODEL, path)
    stamp(path, Predictor(path).card.with_grid(1))
    return path


@pytest.fixture(scope="module")
def result(folder: ImageFolder, model: Path) -> CalibrationResult:
    return calibrate(Predictor(model), folder, 0.8)


def test_card_and_summary_have_the_fitted_values_and_their_effect(
    result: CalibrationResult, folder: ImageFolder
) -> None:
    summary = result.metrics["calibration"]
    assert set(summary) == {"temperature", "threshold", "precision"} | {
        f"{split}_{figure}"
        for split in ("validation", "test")
        for figure in ("error_before", "error_after", "coverage", "accepted_accuracy")
    }
    assert result.card.scores["calibration"] == summary
    assert result.card.temperature == summary["temperature"] != 1
    assert result.card.threshold == summary["threshold"] > 0.25
    assert summary["precision"] == 0.8
    for split, logits in result.logits.items():
        truth = true_classes(result.card, folder.of(split))
        before = calibration_error(probabilities(logits), truth)
        after = calibration_error(probabilities(logits, result.card.temperature), truth)
        assert summary[f"{split}_error_before"] == before
        assert summary[f"{split}_error_after"] == after != before
    json.dumps(result.metrics, allow_nan=False)


def test_rows_of_held_out_photos_equal_the_predictors_results(
    result: CalibrationResult, folder: ImageFolder, model: Path, tmp_path: Path
) -> None:
    write_predictions(tmp_path / "predictions.csv", folder, result)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    held_out = folder.of("validation") + folder.of("test")
    names = [sample.path.relative_to(folder.root).as_posix() for sample in held_out]
    assert [row["file"] for row in rows] == names
    predictor = Predictor(model)
    predictor.engine.card = result.card
    for row in rows[::5]:
        prediction = predictor.predict(folder.root / row["file"])
        assert row["answer"] == prediction.label
        assert row["accepted"] == str(int(prediction.accepted))
        assert float(row["confidence"]) == pytest.approx(prediction.confidence, rel=1e-12)
        written = {label: float(row[f"p:{label}"]) for label in prediction.probabilities}
        assert written == pytest.approx(prediction.probabilities, rel=1e-12)
        assert float(row["loss"]) == pytest.approx(-math.log(written[row["truth"]]))
    for split in ("validation", "test"):
        accepted = [row for row in rows if row["split"] == split and row["accepted"] == "1"]
        correct = sum(row["truth"] == row["answer"] for row in accepted)
        scores = result.metrics[split]
        assert len(accepted) == round(scores["coverage"] * scores["photos"])
        if accepted:
            assert correct / len(accepted) == pytest.approx(scores["accepted_accuracy"])


def test_too_many_probabilities_are_omitted(
    result: CalibrationResult,
    folder: ImageFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = [result.metrics[split]["photos"] for split in ("validation", "test")]
    monkeypatch.setattr("ml.runs.calibrate.MOST_CELLS", 4 * sum(wanted))
    write_predictions(tmp_path / "whole.csv", folder, result)
    monkeypatch.setattr("ml.runs.calibrate.MOST_CELLS", 4 * sum(wanted) - 1)
    write_predictions(tmp_path / "short.csv", folder, result)
    header = (tmp_path / "whole.csv").read_text(encoding="utf-8").splitlines()[0]
    assert (tmp_path / "short.csv").read_text().splitlines()[0] == header.partition(",p:")[0]
    whole, short = (
        read_predictions(tmp_path / f"{name}.csv", result.card.classes)
        for name in ("whole", "short")
    )
    assert whole is not None
    assert short is not None
    for one, other in zip(astuple(whole), astuple(short), strict=True):
        assert np.array_equal(one, other)
    assert suspected_label_errors(whole) == suspected_label_errors(short)


def test_calibrating_twice_changes_nothing(
    result: CalibrationResult, folder: ImageFolder, model: Path
) -> None:
    predictor = Predictor(model)
    predictor.engine.card = result.card
    assert calibrate(predictor, folder, 0.8).metrics == result.metrics


def test_without_validation_photos_all_predictions_are_accepted(drawn: Path, model: Path) -> None:
    result = calibrate(
        Predictor(model), split_folder(scan(drawn), Split(validation=0, test=0.1)), 0.99
    )
    assert (result.card.temperature, result.card.threshold) == (1, 0)
    assert set(result.metrics) == {"test"}
    assert result.metrics["test"]["coverage"] == 1
    console = Console(record=True, width=120)
    show_calibration(result, console)
    assert "no validation photos" in console.export_text()


def test_recalibration_updates_the_model_and_its_parameters(
    result: CalibrationResult, folder: ImageFolder, model: Path, drawn: Path, tmp_path: Path
) -> None:
    again, beside = tmp_path / "model.onnx", tmp_path / "model.safetensors"
    shutil.copy(model, again)
    shutil.copy(SHIPPED_MODEL.with_suffix(".safetensors"), beside)
    assert recalibrate(again, folder, 0.8).card == result.card
    assert Predictor(again).card == result.card == load(beside)[1]
    with pytest.raises(DataError, match="no validation photos"):
        recalibrate(again, split_folder(scan(drawn), Split(validation=0)), 0.8)


def test_recalibration_updates_metrics_and_predictions_of_a_run_folder(
    result: CalibrationResult, folder: ImageFolder, model: Path, tmp_path: Path
) -> None:
    shutil.copy(model, tmp_path / "model.onnx")
    training = {"training": {"best_epoch": 3}}
    (tmp_path / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0}} | training))
    recalibrate(tmp_path / "model.onnx", folder, 0.8)
    assert not (tmp_path / "predictions.csv").exists()  # it is not a run folder
    (tmp_path / "predictions.csv").write_text("split,file\n")
    recalibrate(tmp_path / "model.onnx", folder, 0.8)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == result.metrics | training
    write_predictions(tmp_path / "expected.csv", folder, result)
    assert (tmp_path / "predictions.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_recalibration_leaves_the_parameters_of_another_model(
    folder: ImageFolder, model: Path, tmp_path: Path
) -> None:
    again, beside = tmp_path / "model.onnx", tmp_path / "model.safetensors"
    shutil.copy(model, again)
    network, card = load(SHIPPED_MODEL.with_suffix(".safetensors"))
    other = card.model_copy(update={"version": "0.1.0+another"})
    save(beside, parameters_of(network), other)
    recalibrate(again, folder, 0.8)
    assert load(beside)[1] == other

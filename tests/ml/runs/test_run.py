import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ml.data.image_folder import scan
from ml.data.split import split_folder
from ml.errors import DataError, ModelError, SkyspotterError
from ml.images.preprocessing import Preprocessing
from ml.models.card import Split
from ml.models.checkpoint import SHIPPED_PARAMETERS, load
from ml.predictor import Predictor
from ml.runs.run import _inputs, choose_strategy, prepare, run
from ml.training.config import Config
from ml.training.distributed import ProcessGroup
from tests.helpers import ROOT


def settings(data: Path, output: Path, **others: Any) -> Config:
    given = {"epochs": 1, "batch": 8, "workers": 0, "size": 64} | others
    return Config(data=data, output=output, **given)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_writes_its_folder(finished: Path) -> None:
    written = {path.name for path in finished.iterdir()}
    assert written >= {
        "accuracy.svg",
        "classes-test.svg",
        "classes-train.svg",
        "network.svg",
        "report.html",
        "config.json",
        "data.json",
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "label_audit.csv",
        "last.safetensors",
        "last.pt",
        "best.safetensors",
        "model.safetensors",
        "model.onnx",
    }
    assert read(finished / "config.json")["epochs"] == 2
    assert read(finished / "data.json")["counts"]["test"]["Flying Birds"] == 3


def test_labels_of_training_photos_are_audited(finished: Path) -> None:
    with (finished / "label_audit.csv").open(newline="", encoding="utf-8") as opened:
        judged = {row["file"] for row in csv.DictReader(opened)}
    split_of = read(finished / "data.json")["files"]
    assert {split_of[file] for file in judged} == {"train"}
    assert read(finished / "metrics.json")["training"]["not_judged"] == ""


def test_ctrl_c_in_the_export_can_be_resumed(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    initial = Path(shutil.copy(SHIPPED_PARAMETERS, tmp_path))
    output = tmp_path / "run"
    config = settings(drawn, output, initial=str(initial))
    with monkeypatch.context() as patched:
        patched.setattr("ml.runs.run.audit_labels", interrupted)
        with pytest.raises(SkyspotterError, match="--resume"):
            run(config, Console(quiet=True))
    for name in ("label_audit.csv", "doubts.csv"):
        (output / name).write_text("an earlier run's")
    initial.unlink()  # only the label audit needs it
    run(config, Console(quiet=True), resume=True)
    assert "no file" in read(output / "metrics.json")["training"]["not_judged"]
    assert not any((output / name).exists() for name in ("label_audit.csv", "doubts.csv"))


def test_history_has_a_row_for_each_epoch(finished: Path) -> None:
    with (finished / "history.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for split in ("train", "validation", "test"):
        assert all(0 < float(row[f"{split}_loss"]) < 10 for row in rows)
        for figure in ("accuracy", "f1_Flying Birds", "recall_Winged Drones"):
            assert all(0 <= float(row[f"{split}_{figure}"]) <= 1 for row in rows)
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])


def test_the_model_file_holds_its_metrics(finished: Path, drawn: Path) -> None:
    predictor = Predictor(finished / "model.onnx")
    assert predictor.card == load(finished / "model.safetensors")[1]
    scores = read(finished / "metrics.json")
    assert predictor.card.scores["test"]["accuracy"] == scores["test"]["accuracy"]
    assert predictor.card.temperature == scores["calibration"]["temperature"]
    assert predictor.card.threshold == scores["calibration"]["threshold"]
    assert scores["calibration"]["precision"] == 0.99
    held_out = split_folder(scan(drawn), predictor.card.split).of("test")
    right = sum(predictor.predict(sample.path).label == sample.label for sample in held_out)
    assert right / len(held_out) == scores["test"]["accuracy"]


def test_a_finished_model_can_be_fine_tuned_to_other_classes(
    finished: Path, tmp_path: Path
) -> None:
    for name in ("one thing", "another 🪁"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number, path in enumerate(sorted((finished.parent).rglob("drawn*/*/*.jpg"))[:24]):
        name = "one thing" if number % 2 else "another 🪁"
        (tmp_path / "data" / name / path.name).write_bytes(path.read_bytes())
    initial = str(finished / "model.safetensors")
    config = settings(tmp_path / "data", tmp_path / "run", initial=initial, workers=1)
    model = run(config, Console(quiet=True))
    assert Predictor(model).card.classes == ("another 🪁", "one thing")


def test_distillation_with_ood_pictures(
    finished: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others" / "any").mkdir(parents=True)
    shutil.copy(next(drawn.rglob("*.jpg")), tmp_path / "others" / "any" / "picture.jpg")
    (tmp_path / "others" / "list.txt").write_text("no picture")
    teacher = finished / "model.onnx"
    config = settings(drawn, tmp_path / "run", teacher=teacher, ood=Path("others"))
    scores = Predictor(run(config, Console(quiet=True))).card.scores
    assert scores["test"]["photos"] == 12
    # Pictures that are added later are ignored when the run is resumed.
    picture = tmp_path / "others" / "any" / "picture.jpg"
    shutil.copy(picture, tmp_path / "others" / "later.jpg")
    monkeypatch.chdir("/")
    stored, folder, preprocessing = prepare(config, resume=True, console=Console(quiet=True))
    assert stored.strategy == preprocessing.strategy == "shorter-side"
    assert [sample.path for sample in folder.ood] == [picture]


def test_same_seed_same_parameters(
    finished: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.runs.run._finish", lambda *_: None)
    versions = []
    for seed in (0, 1):
        run(settings(drawn, tmp_path / str(seed), epochs=2, seed=seed), Console(quiet=True))
        versions.append(load(tmp_path / str(seed) / "last.safetensors")[1].version)
    assert versions[0] == load(finished / "last.safetensors")[1].version
    assert versions[1] != versions[0]


def test_strategy_depends_on_the_sizes(drawn: Path) -> None:
    folder = split_folder(scan(drawn), Split())
    assert choose_strategy(folder, "native") == ("native", "as requested")
    strategy, reason = choose_strategy(folder, "auto")
    assert strategy == "shorter-side"
    assert "run from" in reason


def test_a_class_without_training_photos_is_named(drawn: Path, tmp_path: Path) -> None:
    config = Config(data=drawn, output=tmp_path, test=0.99, validation=0.99)
    with pytest.raises(DataError, match="left to train"):
        run(config, Console(quiet=True))


def test_unusual_class_folders(drawn: Path, tmp_path: Path) -> None:
    """Folders with one photo, none, or no readable one; names with markup or an emoji."""
    data, screen = tmp_path / "data", StringIO()
    for name, source in (("🪁 kite", "Flying Birds"), ("[bold]1st", "Winged Drones")):
        shutil.copytree(drawn / source, data / name)
    for name in ("one", "empty", "broken"):
        (data / name).mkdir()
    photo = sorted((drawn / "Large QuadCopters").iterdir())[0]
    shutil.copy(photo, data / "one")
    (data / "broken" / "page.jpg").write_text("<!doctype html>")
    config = settings(data, tmp_path / "run")
    model = run(config, Console(file=screen, width=200))
    assert Predictor(model).card.classes == ("[bold]1st", "one", "🪁 kite")
    for said in (
        "but no usable photo",
        "there is no file in it",
        "test photos of: one",
        "[bold]1st",
    ):
        assert said in screen.getvalue(), said
    counts = read(tmp_path / "run" / "data.json")["counts"]
    assert [counts[split]["one"] for split in ("train", "validation", "test")] == [1, 0, 0]


@pytest.mark.parametrize("usable", ["none", "Flying Birds"])
def test_fewer_than_two_classes_are_rejected(drawn: Path, tmp_path: Path, usable: str) -> None:
    (tmp_path / "data" / "empty").mkdir(parents=True)
    if usable != "none":
        shutil.copytree(drawn / usable, tmp_path / "data" / usable)
    config = Config(data=tmp_path / "data", output=tmp_path / "run")
    with pytest.raises(DataError, match=f"At least 2 classes are needed.* of {usable}:"):
        run(config, Console(quiet=True))


def test_a_typo_never_deletes_an_earlier_run(drawn: Path, tmp_path: Path) -> None:
    earlier = {"last.pt": "state", "config.json": "{}", "report.html": "page"}
    for name, content in earlier.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match="no file"):
        run(Config(data=drawn, output=tmp_path, initial="nowhere.st"), Console(quiet=True))
    assert {name: (tmp_path / name).read_text() for name in earlier} == earlier


def test_limit_data_keeps_the_split(drawn: Path, tmp_path: Path) -> None:
    config = Config(data=drawn, output=tmp_path, limit_data=2)
    _, few, _ = prepare(config, resume=False, console=Console(quiet=True))
    whole = split_folder(scan(drawn), config.split)
    for split in ("train", "validation", "test"):
        assert {s.path for s in few.of(split)} <= {s.path for s in whole.of(split)}
    assert len(few.of("train")) == 8


def test_without_validation_the_card_does_not_claim_one(drawn: Path, tmp_path: Path) -> None:
    config = settings(drawn, tmp_path, validation=0)
    scores = Predictor(run(config, Console(quiet=True))).card.scores
    assert set(scores) == {"epoch", "train", "test"}


def test_the_export_is_verified_without_deleted_photos(photos: Path) -> None:
    """Without validation photos it is verified on training photos, if they can still be read."""
    folder = split_folder(scan(photos), Split(validation=0))
    whole = _inputs(folder, Preprocessing())
    folder.of("train")[0].path.unlink()
    assert whole is not None
    left = _inputs(folder, Preprocessing())
    assert left is not None
    assert len(left) > 0
    assert np.array_equal(left, whole[1:])
    for sample in folder.samples:
        sample.path.unlink(missing_ok=True)
    assert _inputs(folder, Preprocessing()) is None


def test_a_restart_does_not_resume_an_earlier_run(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process can die before the run has deleted the earlier run's files."""
    group = ProcessGroup(restarted=True)
    monkeypatch.setattr("ml.runs.run.process_group", lambda: nullcontext(group))
    monkeypatch.setattr("ml.runs.run._finish", lambda *_: None)
    config = settings(drawn, tmp_path)
    other = config.model_copy(update={"mixup": 0.0})
    for asked, resumes in ((config, False), (other, False), (config, False)):
        run(asked, Console(width=500))
        assert ("Resuming" in capsys.readouterr().out) == resumes
        assert Config.read(tmp_path).mixup == asked.mixup
    run(config, Console(width=500))
    assert "Resuming after epoch 1 of 1" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_exports_the_best_epoch(drawn: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ml", "train", str(drawn), "--output", str(tmp_path / "run")]
    # In a shell's background job Ctrl-C is ignored, and the new process would inherit that.
    # With a handler installed here, it starts with the default action instead.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, "--epochs", "500", "--batch", "8", "--size", "64"],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "120"},
    )
    signal.signal(signal.SIGINT, before)
    history = tmp_path / "run" / "history.csv"
    while not history.exists():
        assert process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # the loading process gets it too, as from a terminal
    assert process.wait(timeout=200) == 0
    assert Predictor(tmp_path / "run" / "model.onnx").card.scores["test"]["photos"] == 12


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_without_data_learns_the_synthetic_set(tmp_path: Path) -> None:
    output = tmp_path / "run"
    options = ["--epochs", "6", "--size", "128"]
    command = [sys.executable, "-m", "ml", "train", "--output", str(output), *options]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert read(output / "metrics.json")["test"]["accuracy"] >= 0.9
    assert len(Predictor(output / "model.onnx").card.classes) == 4

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ml.cli.command import OLD_OPTIONS
from ml.cli.main import cli
from ml.data.image_folder import scan
from ml.data.split import split_folder
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.training.config import Config
from tests.helpers import ROOT, picture

COMMANDS = [
    *("train", "evaluate", "calibrate", "predict", "score"),
    *("export", "report", "synthesize", "inspect"),
]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert f"skyspotter {command} " in result.output  # an example


def test_predict_continues_after_bad_files(photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo)
    (tmp_path / "b.jpg").write_text("no photo")
    (tmp_path / "c.jpg").write_bytes(photo)
    result = call("predict", tmp_path, tmp_path / "missing.jpg", "--format", "csv")
    assert result.exit_code == 1
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["file"][-5:] for row in rows] == ["a.jpg", "b.jpg", "c.jpg", "g.jpg"]
    assert "b.jpg: This file is not an image" in result.stderr
    assert "missing.jpg: There is no such file" in result.stderr
    assert "No prediction for 2 files" in result.stderr
    assert call("predict", tmp_path / "a.jpg").exit_code == 0


def test_predict_takes_patterns(photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpg", "deep/er/c.jpg", "deep/d.txt"):
        (tmp_path / name).write_bytes(photo)
    result = call("predict", f"{tmp_path}/**/*.jpg", "--format", "jsonl")
    assert result.exit_code == 0
    files = [json.loads(line)["file"][-5:] for line in result.stdout.splitlines()]
    assert files == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_a_closed_pipe_ends_quietly(photo: bytes, tmp_path: Path, format: str) -> None:
    for number in range(60):
        (tmp_path / f"{number:02} {'long name ' * 15}.jpg").write_bytes(photo)
    (tmp_path / "caf\udce9.jpg").write_bytes(photo)  # not in UTF-8
    command = f"{sys.executable} -m ml predict '{tmp_path}' --format {format} | head -1 | wc -l"
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    run = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert run.stdout.strip() == "1"
    assert run.stderr == ""


def test_file_names_that_are_not_utf_8_are_printed_unchanged(photo: bytes, tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.jpg"
    path.write_bytes(photo)
    for format in ("table", "csv", "jsonl"):
        command = [sys.executable, "-m", "ml", "predict", str(tmp_path), "--format", format]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        assert b"caf\\udce9.jpg" in run.stdout or os.fsencode(path) in run.stdout


@pytest.mark.parametrize(
    "arguments",
    [["predict"], ["predict", "x.jpg", "--format", "xml"], ["unknown"], ["train", "--epochs", "0"]],
)
def test_wrong_usage_exits_with_status_2(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2


def test_evaluate_writes_json(drawn: Path, tmp_path: Path) -> None:
    result = call(
        "evaluate", SHIPPED_MODEL, drawn, "--split", "all", "--json", tmp_path / "out.json"
    )
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "out.json").read_text())
    assert scores["photos"] == 40
    assert re.search(r"Accuracy [\d.]+% on 40 photos", result.stdout)


def test_evaluate_measures_ood_rejection(drawn: Path, tmp_path: Path) -> None:
    assert call("synthesize", tmp_path / "none", "--ood", "--images-per-class", 2).exit_code == 0
    (tmp_path / "none" / "list.txt").write_text("no picture")
    out = tmp_path / "out.json"
    options = ("--split", "validation", "--grid", 1, "--ood", tmp_path / "none", "--json", out)
    result = call("evaluate", SHIPPED_MODEL, drawn, *options)
    assert result.exit_code == 0, result.output
    others = json.loads(out.read_text())["others"]
    assert others["photos"] == 12
    assert 0 <= others["refused"] <= 1
    assert set(others["auroc"]) == {"maximum_probability", "energy", "maximum_logit"}
    said = result.stdout.replace("\n", " ")
    assert "12 out-of-distribution photos rejected" in said
    assert f"maximum logit {others['auroc']['maximum_logit']:.3f}" in said


def test_photos_added_after_training_belong_to_no_split(drawn: Path, tmp_path: Path) -> None:
    """If a folder were split again after it has grown, photos could change their split."""
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    shutil.copy(SHIPPED_MODEL, run)
    shutil.copytree(drawn, data)
    before = split_folder(scan(data), Predictor().card.split)
    (run / "data.json").write_text(json.dumps(before.summary()), encoding="utf-8")
    for number in range(9):
        picture(seed=90 + number).save(data / "Flying Birds" / f"{number}.png")
    for split, photos in (("validation", len(before.of("validation"))), ("all", 49)):
        options = ("--split", split, "--grid", 1, "--json", run / "out.json")
        result = call("evaluate", run / "model.onnx", data, *options)
        assert result.exit_code == 0, result.stderr
        assert "9 photos that" in result.stderr
        assert json.loads((run / "out.json").read_text())["photos"] == photos


def test_calibrate_rewrites_the_card(drawn: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    shutil.copy(SHIPPED_MODEL, model)
    result = call("calibrate", model, drawn, "--target-precision", 0.8)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Temperature")
    card = json.loads(call("inspect", model, "--json").stdout)
    assert card["temperature"] != 1
    assert card["scores"]["calibration"]["precision"] == 0.8


def test_grids_can_be_compared(drawn: Path, tmp_path: Path) -> None:
    losses = set()
    for views in (1, 2):
        out = tmp_path / f"{views}.json"
        call("evaluate", SHIPPED_MODEL, drawn, "--split", "all", "--grid", views, "--json", out)
        losses.add(json.loads(out.read_text())["loss"])
    assert len(losses) == 2


def test_synthesize_then_inspect(tmp_path: Path) -> None:
    assert call("synthesize", tmp_path / "set", "--images-per-class", 2).exit_code == 0
    summary = json.loads(call("inspect", tmp_path / "set", "--json").stdout)
    assert len(summary["files"]) == 8
    assert "8 photos of 4 classes" in call("inspect", tmp_path / "set").stdout


def test_report_of_another_folder_fails(tmp_path: Path) -> None:
    result = call("report", tmp_path)
    assert result.exit_code == 1
    assert "is not a run folder" in result.stderr.replace("\n", " ")


def test_inspect_models() -> None:
    onnx = json.loads(call("inspect", SHIPPED_MODEL, "--json").stdout)
    safetensors = call("inspect", SHIPPED_MODEL.with_suffix(".safetensors"), "--json")
    assert onnx == json.loads(safetensors.stdout)
    assert "Flying Birds" in onnx["classes"]
    assert onnx["version"] in call("inspect", SHIPPED_MODEL).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "nowhere"],
        ["evaluate", "nowhere.onnx", "nowhere"],
        ["evaluate", SHIPPED_MODEL, "nowhere"],
        ["calibrate", SHIPPED_MODEL, "nowhere"],
        ["export", "nowhere", "--output", "x.onnx"],
        ["inspect", "nowhere.onnx"],
        ["predict", "x.jpg", "--model", "nowhere.onnx"],
    ],
)
def test_errors_are_one_sentence(arguments: list[object], tmp_path: Path) -> None:
    if arguments[0] == "train":
        arguments = [*arguments, "--output", tmp_path]
    result = call(*arguments)
    assert result.exit_code == 1
    assert "no" in result.stderr
    assert "Traceback" not in result.output


def test_old_option_names_are_accepted_but_not_shown(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[Config] = []
    monkeypatch.setattr("ml.runs.run.run", lambda config, *_: configs.append(config))
    for options in (
        ("--precision", 0.9, "--views=3", "--others", tmp_path),
        ("--target-precision", 0.9, "--grid=3", "--ood", tmp_path),
    ):
        assert call("train", drawn, *options).exit_code == 0
    assert configs[0] == configs[1]
    assert (configs[0].target_precision, configs[0].grid, configs[0].ood) == (0.9, 3, tmp_path)
    for command, names in OLD_OPTIONS.items():
        said = call(command, "--help").output
        for name in names:
            assert not re.search(rf"{name}[ ,]", said)
    assert call("synthesize", tmp_path / "set", "--others", "--images-per-class", 1).exit_code == 0
    assert not (tmp_path / "set" / "Flying Birds").exists()
    result = call("export", SHIPPED_MODEL, "--output", tmp_path / "x.onnx", "--calibration", drawn)
    assert "--calibration-data" in result.output
    out = tmp_path / "out.json"
    old = ("--split", "all", "--views", 2, "--others", tmp_path / "set", "--json", out)
    assert call("evaluate", SHIPPED_MODEL, drawn, *old).exit_code == 0
    assert json.loads(out.read_text())["others"]["photos"] == 6
    model = shutil.copy(SHIPPED_MODEL, tmp_path / "model.onnx")
    assert call("calibrate", model, drawn, "--precision", 0.8).exit_code == 0


def test_every_described_setting_is_an_option_of_train() -> None:
    said = call("train", "--help").output
    for name, field in Config.model_fields.items():
        option = "data" if name == "data" else f"--{name.replace('_', '-')} "
        assert (option in said) == bool(field.description), name


def test_the_evidence_measurement_has_moved() -> None:
    result = call("evaluate", SHIPPED_MODEL, "nowhere", "--evidence")
    assert result.exit_code == 2
    assert "benchmarks/evidence.py" in result.stderr
    assert "--evidence" not in call("evaluate", "--help").output

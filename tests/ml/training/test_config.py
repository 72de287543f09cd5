import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml.cli.main import cli
from ml.errors import DataError
from ml.training.config import Config


def test_written_settings_are_read_back(tmp_path: Path) -> None:
    config = Config(
        data=Path("/photos ünd more"),
        output=tmp_path,
        strategy="native",
        learning_rate=0.1 + 0.2,
        seed=7,
        test=0.25,
        grid=3,
        target_precision=0.9,
        ood=Path("/ood"),
        teacher=Path("/teacher.onnx"),
        initial="/start.safetensors",
        time_budget=1.5,
    )
    config.write()
    assert Config.read(tmp_path) == config


def test_a_run_folder_may_have_been_moved(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    Config(data=None, output=tmp_path / "before").write()
    (tmp_path / "before").rename(tmp_path / "after")
    assert Config.read(tmp_path / "after").output == tmp_path / "after"


@pytest.mark.parametrize("content", [None, "", "[]", '{"data": null, "output": "x", "views": "y"}'])
def test_a_folder_without_valid_settings_is_rejected(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"not a run folder|start a new run"):
        Config.read(tmp_path)


@pytest.mark.parametrize(
    ("options", "name"), [(["--epochs", "9"], "epochs 20, not 9"), (["--seed", "1"], "seed 0")]
)
def test_resuming_with_other_settings_is_rejected(
    tmp_path: Path, options: list[str], name: str
) -> None:
    Config(data=tmp_path / "none", output=tmp_path).write()
    result = CliRunner().invoke(cli, ["train", "--resume", str(tmp_path), *options])
    assert result.exit_code == 1
    assert name in result.stderr


def test_stored_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    output = tmp_path / "run"
    output.mkdir()
    monkeypatch.chdir(tmp_path)
    asked = Config(data=Path("photos"), output=Path("run"), initial="start.safetensors")
    asked.write()
    assert asked.matches_run(output)
    monkeypatch.chdir("elsewhere")
    stored = Config.read(output)
    assert (stored.data, stored.initial) == (
        tmp_path / "photos",
        str(tmp_path / "start.safetensors"),
    )
    assert not asked.matches_run(output)
    moved = asked.model_copy(update={"initial": "../start.safetensors"})
    stored.check_same(moved, ["initial"])
    Config(data=None, output=output).write()
    assert Config.read(output).initial == "shipped"


def test_a_folder_matches_only_a_run_with_the_same_settings(tmp_path: Path) -> None:
    asked = Config(data=tmp_path, output=tmp_path)
    assert not asked.matches_run(tmp_path)
    asked.model_copy(update={"strategy": "native"}).write()  # chosen from the photos
    assert asked.matches_run(tmp_path)
    for other in ({"epochs": 3}, {"seed": 1}, {"strategy": "shorter-side"}):
        assert not asked.model_copy(update=other).matches_run(tmp_path)


def test_resuming_with_the_same_settings_is_accepted(tmp_path: Path) -> None:
    Config(data=tmp_path / "none", output=tmp_path).write()
    same = ["--epochs", "20", "--output", str(tmp_path), "--test", "0.3"]
    result = CliRunner().invoke(cli, ["train", "--resume", str(tmp_path), *same])
    assert "There is no folder" in result.stderr  # the settings were accepted


@pytest.mark.parametrize(
    "names", [("views", "precision", "others"), ("grid", "target_precision", "ood")]
)
def test_older_settings_are_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    grid, precision, ood = names
    stored = {
        **{"data": "/photos", "output": "x", grid: 3, precision: 0.9, ood: "/ood"},
        **{"split": {"seed": 7, "test": 0.2, "validation": 0.1}, "option of a later version": 1},
    }
    (tmp_path / "config.json").write_text(json.dumps(stored))
    config = Config.read(tmp_path)
    assert (config.grid, config.target_precision, config.ood) == (3, 0.9, Path("/ood"))
    assert (config.seed, config.test, config.validation) == (7, 0.2, 0.1)
    config.write()
    kept = json.loads((tmp_path / "config.json").read_text())
    assert (kept["views"], kept["precision"], kept["others"]) == (3, 0.9, "/ood")
    assert kept["split"] == stored["split"]


def test_settings_are_read_without_torch() -> None:
    code = "import sys, ml.training.config; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"

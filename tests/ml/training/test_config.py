from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml.cli.main import cli
from ml.errors import DataError
from ml.models.card import Split
from ml.training.config import Config


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    config = Config(
        data=Path("/photos ünd more"),
        output=tmp_path,
        strategy="native",
        learning_rate=0.1 + 0.2,
        split=Split(seed=7, test=0.25),
        others=None,
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
def test_what_is_no_run_folder(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"no run folder|start a new run"):
        Config.read(tmp_path)


@pytest.mark.parametrize(
    ("options", "name"), [(["--epochs", "9"], "epochs 20, not 9"), (["--seed", "1"], "seed 0")]
)
def test_other_settings_than_the_runs_are_refused(
    tmp_path: Path, options: list[str], name: str
) -> None:
    Config(data=tmp_path / "none", output=tmp_path).write()
    result = CliRunner().invoke(cli, ["train", "--resume", str(tmp_path), *options])
    assert result.exit_code == 1
    assert name in result.stderr


def test_paths_are_meant_from_where_the_run_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    output = tmp_path / "run"
    output.mkdir()
    monkeypatch.chdir(tmp_path)
    asked = Config(data=Path("photos"), output=Path("run"), initial="start.safetensors")
    asked.write()
    assert asked.is_that_of(output)
    monkeypatch.chdir("elsewhere")
    stored = Config.read(output)
    assert (stored.data, stored.initial) == (
        tmp_path / "photos",
        str(tmp_path / "start.safetensors"),
    )
    assert not asked.is_that_of(output)
    stored.agree(replace(asked, initial="../start.safetensors"), ["initial"])
    Config(data=None, output=output).write()
    assert Config.read(output).initial == "shipped"


def test_a_run_is_known_by_its_settings(tmp_path: Path) -> None:
    asked = Config(data=tmp_path, output=tmp_path)
    assert not asked.is_that_of(tmp_path)
    replace(asked, strategy="native").write()  # as it was chosen
    assert asked.is_that_of(tmp_path)
    for other in ({"epochs": 3}, {"split": Split(seed=1)}, {"strategy": "shorter-side"}):
        assert not replace(asked, **other).is_that_of(tmp_path)


def test_the_same_settings_may_be_said_again(tmp_path: Path) -> None:
    Config(data=tmp_path / "none", output=tmp_path).write()
    same = ["--epochs", "20", "--output", str(tmp_path), "--test", "0.3"]
    result = CliRunner().invoke(cli, ["train", "--resume", str(tmp_path), *same])
    assert "There is no folder" in result.stderr  # it went on to look at the photos

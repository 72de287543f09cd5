import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from ml.engines.loader import Opened, open_best
from ml.errors import ModelError, ScoringError
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.scoring.job import Job
from ml.scoring.local import score, score_locally
from tests.helpers import ROOT
from tests.ml.colours import CARD, write_colours
from tests.ml.scoring.helpers import QUIET, colour, many_photos, raise_next, score_folder


def score_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ml", "score", *map(str, arguments)]


def test_rows_equal_the_predictions_of_predictor(
    drawn: Path, shipped: Predictor, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "predictions.parquet"
    score([str(drawn)], output, open_best(SHIPPED_MODEL), QUIET, score_locally)
    rows = pq.read_table(output).to_pylist()
    assert len(rows) == 41  # with index.csv
    for row in rows:
        if row["path"].endswith(".csv"):
            assert "not an image" in row["error"]
            assert row["label"] is row["confidence"] is row["accepted"] is None
            continue
        expected = shipped.predict(row["path"])
        assert row["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert row["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
        known = (row["label"], row["accepted"], row["error"], row["model"])
        assert known == (expected.label, expected.accepted, None, shipped.card.version)
    assert not output.with_name("predictions.parquet.parts").exists()


def test_a_file_that_several_sources_name_is_scored_once(model: Path, tmp_path: Path) -> None:
    folder = many_photos(tmp_path / "photos", 5)
    sources = [str(folder), f"{folder}/*1.jpg", f"{tmp_path}/missing"]
    score(sources, tmp_path / "out.parquet", open_best(model), QUIET, score_locally)
    table = pq.read_table(tmp_path / "out.parquet")
    assert Counter(table["path"].to_pylist()).most_common(1)[0][1] == 1
    assert len(table) == 6
    assert "no such file" in table["error"].to_pylist()[-1]


def test_names_that_are_not_utf8(model: Path, tmp_path: Path) -> None:
    (photo,) = many_photos(tmp_path / "photos", 1).iterdir()
    photo.rename(photo.with_name("caf\udce9.jpg"))
    score(
        [str(tmp_path / "photos")],
        tmp_path / "out.parquet",
        open_best(model),
        QUIET,
        score_locally,
    )
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert row["path"].endswith("caf\\xe9.jpg")
    assert row["label"] == "red"


def test_the_output_may_be_in_a_source_folder(photo_folder: Path, model: Path) -> None:
    output, link = photo_folder / "out.parquet", photo_folder.with_name("link")
    link.symlink_to(photo_folder)
    for _ in range(2):
        score(
            [str(photo_folder), f"file://{photo_folder}", str(link)],
            output,
            open_best(model),
            QUIET,
            score_locally,
        )
        names = pq.read_table(output)["path"].to_pylist()
        assert names == [f"{photo_folder}/00000.jpg", f"{link}/00000.jpg"]
        output.unlink()
    (photo_folder / "00000.jpg").unlink()
    with pytest.raises(ScoringError, match="no file to score"):
        score([str(photo_folder)], output, open_best(model), QUIET, score_locally)


def test_results_of_a_job_killed_at_its_very_end_are_not_reused(
    photo_folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(
            "ml.scoring.job.shutil.rmtree", lambda *_, **__: raise_next([KeyboardInterrupt()])
        )
        with pytest.raises(KeyboardInterrupt):
            score_folder(photo_folder, model)
    parts = photo_folder.parent / "out.parquet.parts"
    assert [path.name for path in parts.glob("*.parquet")] == ["0000000.parquet"]
    (photo_folder.parent / "out.parquet").unlink()
    Image.new("RGB", (64, 64), (0, 0, 200)).save(photo_folder / "00000.jpg")
    (row,) = score_folder(photo_folder, model)
    assert row["label"] == "blue"


def test_an_output_that_is_a_url_is_refused(photo_folder: Path, model: Path) -> None:
    command = score_command(photo_folder, "--output", "s3://bucket/out.parquet", "--model", model)
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == "--output must be a file on this machine. Copy it to a store later.\n"


@pytest.mark.parametrize("folder", ["", ".", "/", "photos"])
def test_an_output_that_is_a_folder_is_refused(
    photo_folder: Path, model: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo_folder.parent)
    with pytest.raises(ScoringError, match="is a folder"):
        score([str(photo_folder)], Path(folder), open_best(model), QUIET, score_locally)


def test_two_runs_may_finish_at_the_same_time(photo_folder: Path, model: Path) -> None:
    opened, output = open_best(model), photo_folder.parent / "out.parquet"
    job = Job([str(photo_folder)], output, opened.file)
    with job.opened():
        for part, rows in score_locally(opened, job.todo()):
            job.write_part(part, rows)
        job.list_file.unlink()  # as another run does that finds the finished output
        assert job.finish() == 0
    with pytest.raises(ScoringError, match="just finished"), job.opened():
        pass


def test_a_job_uses_the_model_that_was_opened(photo_folder: Path, model: Path) -> None:
    opened, data = open_best(model), model.read_bytes()
    model.write_bytes(b"another")
    assert opened.file.data == data
    score([str(photo_folder)], photo_folder.parent / "out.parquet", opened, QUIET, score_locally)


def test_precision_chooses_the_model_file(photo_folder: Path, model: Path) -> None:
    assert open_best(SHIPPED_MODEL, precision="float32").file.path == SHIPPED_MODEL
    assert open_best(SHIPPED_MODEL, precision="int8").file.path.name == "model.int8.onnx"
    with pytest.raises(ModelError):
        open_best(model, precision="int8")
    command = score_command(photo_folder, "--output", photo_folder / "out.parquet")
    command += ["--model", str(model), "--precision", "int8"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, "colours.int8.onnx" in run.stderr) == (1, True)


def test_progress_is_logged_without_a_terminal(
    photo_folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.scoring.progress._LINE_SECONDS", 0)
    log = Console(file=StringIO(), width=200)
    score([str(photo_folder)], photo_folder / "out.parquet", open_best(model), log, score_locally)
    said = log.file.getvalue()  # type: ignore[attr-defined]
    assert said.startswith("Listing the files…\n")
    rate = re.search(r"\n1 of 1 photos, ([\d.]+) photos/s, \d:\d\d:\d\d left\n", said)
    assert rate
    assert float(rate[1]) > 0


@pytest.fixture
def interrupted(model: Path, tmp_path: Path) -> tuple[Path, Callable[..., None]]:
    """The output of a job that failed after its first part, and a function that continues it."""
    folder, output = many_photos(tmp_path / "photos", 600), tmp_path / "out.parquet"

    def continue_job(sources: str = str(folder), model: Path = model) -> None:
        score([sources], output, open_best(model), QUIET, score_locally)

    def failing(model: Opened, parts: object) -> object:
        yield next(score_locally(model, parts))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score([str(folder)], output, open_best(model), QUIET, failing)  # type: ignore[arg-type]
    return output, continue_job


def test_an_interrupted_job_continues(interrupted: tuple[Path, Callable[..., None]]) -> None:
    output, continue_job = interrupted
    (part,) = output.with_name("out.parquet.parts").glob("0*.parquet")
    before = part.stat().st_mtime_ns
    (output.parent / "photos" / "late.jpg").write_bytes(b"not one of those listed")
    continue_job()
    assert before < output.stat().st_mtime_ns
    table = pq.read_table(output)
    names = [Path(path) for path in table["path"].to_pylist()]
    assert [name.name for name in names] == [f"{number:05}.jpg" for number in range(600)]
    assert table["label"].to_pylist() == [colour(name) for name in names]
    written = output.stat().st_mtime_ns
    continue_job()  # finished already
    assert output.stat().st_mtime_ns == written


def test_other_sources_or_another_model_are_refused(
    interrupted: tuple[Path, Callable[..., None]],
) -> None:
    output, continue_job = interrupted
    other = CARD.model_copy(update={"version": "0.0.0+other"})
    other_threshold = CARD.model_copy(update={"threshold": 0.9})  # of the same version
    wrong = output.with_name("wrong.onnx")
    for _ in ("with parts", "whole"):
        with pytest.raises(ScoringError, match=r"started with sources .*photos.*not .*elsewhere"):
            continue_job(sources=f"{output.parent}/elsewhere")
        with pytest.raises(ScoringError, match=r"model 0.0.0\+colours, not 0.0.0\+other"):
            continue_job(model=write_colours(wrong, other))
        with pytest.raises(ScoringError, match="sha256"):
            continue_job(model=write_colours(wrong, other_threshold))
        continue_job()


def test_a_file_that_no_job_wrote_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_text("mine")
    with pytest.raises(ScoringError, match="give another --output"):
        score(
            [str(tmp_path)],
            tmp_path / "out.parquet",
            open_best(model),
            QUIET,
            score_locally,
        )
    assert (tmp_path / "out.parquet").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_photos_killed_half_way_are_scored_once_each(
    model: Path, tmp_path: Path
) -> None:
    folder, output = many_photos(tmp_path / "photos", 10_000), tmp_path / "out.parquet"
    (folder / "07777.jpg").unlink()
    (folder / "07777.jpg").write_text("no photo")
    command = score_command(folder, "--output", output, "--model", model)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    parts = output.with_name("out.parquet.parts")
    while len(list(parts.glob("0*.parquet"))) < 20:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    twice = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "Another run is writing" in twice.stderr
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not output.exists()

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said = re.search(
        r"10000 files, 1 without a prediction.*This run scored (\d+),",
        " ".join(again.stdout.split()),
    )
    assert said
    assert 0 < int(said[1]) <= 5_120
    rows = pq.read_table(output).to_pylist()
    assert [Path(row["path"]).name for row in rows] == [f"{n:05}.jpg" for n in range(10_000)]
    wrong = [row for row in rows if row["label"] != colour(Path(row["path"]))]
    assert [os.path.basename(row["path"]) for row in wrong] == ["07777.jpg"]
    assert "not an image" in wrong[0]["error"]

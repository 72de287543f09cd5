"""The command line: `python -m ml COMMAND`, or `skyspotter COMMAND`.

Each command imports what it needs when it runs, so that `predict` works without torch.
"""

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

from ml.cli.command import cli, command, console, errors
from ml.cli.options import with_config_options
from ml.cli.output import predict_files, write_predictions
from ml.errors import plural
from ml.files import find
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.training.config import Config

__all__ = ["cli", "main"]


@command
@with_config_options
def train(
    config: Config,
    given: set[str],
    resume: Annotated[
        Path | None, typer.Option(help="Run folder to resume, keeping its settings.")
    ] = None,
) -> None:
    """Train on a folder of labelled photos, and write a run folder with a model to serve."""
    from ml.runs.run import run

    if resume is None:
        run(config, console)
        return
    stored = Config.read(resume)
    stored.check_same(config, given - {"resume"})
    run(stored, console, resume=True)


@command
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model.onnx.")],
    data: Annotated[Path, typer.Argument(help="Image folder.")],
    split: Annotated[
        Literal["test", "validation", "train", "all"], typer.Option(help="Split to measure on.")
    ] = "test",
    by: Annotated[str, typer.Option(help="Column of index.csv to group the accuracy by.")] = "",
    grid: Annotated[
        int | None, typer.Option(help="Average over N x N crops (default: model's).", min=1, max=5)
    ] = None,
    ood: Annotated[
        Path | None, typer.Option(help="Out-of-distribution photos, which should be rejected.")
    ] = None,
    evidence: Annotated[bool, typer.Option("--evidence", hidden=True)] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write the metrics to.")
    ] = None,
) -> None:
    """Measure a model file on an image folder, with the code that serves it.

    A folder without a split of its own is split as it was for training: by the data.json beside
    the model if there is one, else by the seed and fractions in the model file. Photos that
    data.json does not list belong to no split.
    """
    from ml.data.image_folder import scan, scan_ood
    from ml.data.recorded_split import split_as_trained
    from ml.evaluation.evaluate import evaluate, show_metrics

    if evidence:
        errors.print("This measurement moved to benchmarks/evidence.py in the repository.")
        raise typer.Exit(2)
    predictor = Predictor(model)
    if grid is not None:
        predictor.engine.card = predictor.card.with_grid(grid)
    folder = split_as_trained(scan(data), model.parent, predictor.card.split, errors)
    scores = evaluate(predictor, folder.of(split), by, scan_ood(ood) if ood is not None else [])
    show_metrics(scores, console)
    if json_file is not None:
        json_file.write_text(json.dumps(scores, indent=2), encoding="utf-8")


@command
def calibrate(
    model: Annotated[Path, typer.Argument(help="A model.onnx; its metadata is rewritten.")],
    data: Annotated[Path, typer.Argument(help="Image folder.")],
    target_precision: Annotated[
        float, typer.Option(help="Target accuracy of accepted predictions.", min=0.5, max=0.9999)
    ] = 0.99,
) -> None:
    """Fit a model's temperature and acceptance threshold again, on a folder's validation photos.

    A folder without a split of its own is split as it was for training. In a run folder the
    metrics, the predictions and the report are updated too.
    """
    from ml.data.image_folder import scan
    from ml.data.recorded_split import split_as_trained
    from ml.report.page import write_report
    from ml.runs.calibrate import recalibrate, show_calibration

    folder = split_as_trained(scan(data), model.parent, Predictor(model).card.split, errors)
    show_calibration(recalibrate(model, folder, target_precision), console)
    if model.with_name("report.html").exists():
        write_report(model.parent)


@command
def predict(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders and patterns such as 'photos/**/*.jpg'.")
    ],
    model: Annotated[Path, typer.Option(help="A model.onnx.")] = SHIPPED_MODEL,
    format: Annotated[
        Literal["table", "csv", "jsonl"],
        typer.Option(help="Output format: table, CSV, or JSON lines with all fields."),
    ] = "table",
) -> None:
    """Classify photos, and print each prediction as soon as it is ready.

    Files that cannot be read are listed at the end, and the exit status is then 1.
    """
    predictor = Predictor.open(model)
    predictions = predict_files(predictor, find(paths))
    failed = write_predictions(predictions, format, predictor.card.classes)
    for path, rejected in failed:
        errors.print(f"{path}: {rejected.reason}")
    if failed:
        errors.print(f"No prediction for {plural(len(failed), 'file')}.", style="red")
        raise typer.Exit(1)


@command
def score(
    sources: Annotated[
        list[str], typer.Argument(help="Folders, files, patterns, s3:// and gs:// URLs.")
    ],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    model: Annotated[Path, typer.Option(help="A model.onnx.")] = SHIPPED_MODEL,
    ray: Annotated[
        str, typer.Option(help="Ray cluster: auto, local or an address. Without it: this machine.")
    ] = "",
    precision: Annotated[
        Literal["auto", "float32", "int8"],
        typer.Option(help="Number format. auto: int8 if supported and almost as accurate."),
    ] = "auto",
) -> None:
    """Classify millions of photos into one Parquet file. Run it again to resume after a stop.

    The column `error` says why a file could not be classified; the exit status is still 0.
    """
    from ml.engines.loader import open_best
    from ml.scoring.local import score, score_locally

    opened = open_best(model, precision=precision)
    if not ray:
        score(sources, output, opened, console, score_locally)
        return
    from ml.scoring.ray import cluster

    with cluster(ray) as score_on_ray:
        score(sources, output, opened, console, score_on_ray)


@command
def export(
    source: Annotated[Path, typer.Argument(help="Run folder or model.safetensors.")],
    output: Annotated[Path, typer.Option(help="ONNX file to write.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise: about twice as fast, slightly less accurate.")
    ] = False,
    calibration_data: Annotated[
        Path | None, typer.Option(help="For --int8: the image folder the model was trained on.")
    ] = None,
) -> None:
    """Write an ONNX file, after verifying that its results agree with PyTorch's.

    With --int8 the value ranges are taken from the folder's training photos, and accuracy and
    agreement with float32 are measured on the held-out photos. `model.int8.onnx` is served instead
    of the `model.onnx` beside it if it is almost as accurate.
    """
    from ml.export.onnx import export

    if int8 != (calibration_data is not None):
        raise typer.BadParameter("Use --int8 and --calibration-data together.")
    if calibration_data is not None:
        from ml.export.int8 import export_int8

        quantised = export_int8(source, output, calibration_data)
        console.print(f"{output}: {quantised.summary()}.")
        return
    difference = export(source, output)
    console.print(f"{output}: agrees with PyTorch to {difference:.1e}.")


@command
def report(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Write a run's report again, from the files in the run folder."""
    from ml.report.page import write_report

    console.print(str(write_report(run)), markup=False, soft_wrap=True)


@command
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.")],
    images_per_class: Annotated[int, typer.Option(help="Pictures per class.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the random pictures.", min=0)] = 0,
    ood: Annotated[bool, typer.Option("--ood", help="Draw out-of-distribution pictures.")] = False,
) -> None:
    """Draw a small synthetic set of the four classes, or of out-of-distribution pictures."""
    from ml.data.synthetic import synthesize
    from ml.data.synthetic_ood import synthesize_ood

    draw = synthesize_ood if ood else synthesize
    draw(folder, images_per_class, seed)
    console.print(f"{folder}: {images_per_class} pictures of each {'kind' if ood else 'class'}.")


@command
def inspect(
    path: Annotated[Path, typer.Argument(help="Model file, run folder or image folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Describe a model file, or an image folder before training on it."""
    from ml.cli.inspect import inspect

    inspect(path, as_json, console)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # file names need not be valid UTF-8
            stream.reconfigure(errors="surrogateescape")
    cli()

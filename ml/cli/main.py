"""The command line: `python -m ml COMMAND`, or `skyspotter COMMAND`.

Commands import what they need when they run: `predict` works where torch is not installed.
"""

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

from ml.cli.command import cli, command, console, errors
from ml.cli.output import predict_files, write_predictions
from ml.files import find
from ml.models.card import Split
from ml.predictor import SHIPPED_MODEL, Predictor

__all__ = ["cli", "main"]


@command
def train(
    context: typer.Context,
    data: Annotated[Path | None, typer.Argument(help="Image folder; drawn if left out.")] = None,
    output: Annotated[Path, typer.Option(help="The run folder to write.")] = Path("runs/latest"),
    initial: Annotated[
        str, typer.Option(help="Where to start: shipped, imagenet, none or a safetensors file.")
    ] = "shipped",
    strategy: Annotated[
        Literal["auto", "native", "shorter-side"],
        typer.Option(help="How photos are brought to size."),
    ] = "auto",
    views: Annotated[
        int, typer.Option(help="Grid of crops a side when serving.", min=1, max=5)
    ] = 1,
    size: Annotated[
        int, typer.Option(help="Side of the network's input, in pixels.", min=32, max=1024)
    ] = 224,
    augment: Annotated[
        Literal["full", "crops"], typer.Option(help="How photos are varied.")
    ] = "full",
    mixup: Annotated[float, typer.Option(help="How much photos blend.", min=0)] = 0.2,
    label_smoothing: Annotated[float, typer.Option(min=0, max=0.5)] = 0.1,
    averaged_epochs: Annotated[
        float, typer.Option(help="Epochs that parameters are averaged over (EMA); 0: none.", min=0)
    ] = 2.0,
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch: Annotated[int, typer.Option(min=2)] = 32,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    test: Annotated[
        float, typer.Option(help="Share that is never trained on.", min=0, max=0.99)
    ] = 0.3,
    validation: Annotated[
        float, typer.Option(help="Share of the rest that selects.", min=0, max=0.99)
    ] = 0.15,
    precision: Annotated[
        float, typer.Option(help="Share of accepted answers to be right.", min=0.5, max=0.9999)
    ] = 0.99,
    network: Annotated[
        Literal["skyspotter", "plain"],
        typer.Option(help="plain is MobileNetV2 with a linear head, to compare with."),
    ] = "skyspotter",
    freeze: Annotated[
        int, typer.Option(help="First stages, of 19, to leave as they are.", min=0, max=19)
    ] = 4,
    teacher: Annotated[
        Path | None, typer.Option(help="A model.onnx of the same classes to learn from as well.")
    ] = None,
    others: Annotated[
        Path | None, typer.Option(help="Pictures of none of the classes, to learn to refuse.")
    ] = None,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better one; 0: never.", min=0)
    ] = 0,
    time_budget: Annotated[
        float, typer.Option(help="Minutes that all may take; 0: as many as it needs.", min=0)
    ] = 0,
    limit_data: Annotated[
        int,
        typer.Option(help="Photos of a class and split to use, to try things out; 0: all.", min=0),
    ] = 0,
    workers: Annotated[int, typer.Option(help="Processes that load photos.", min=0)] = 1,
    resume: Annotated[
        Path | None, typer.Option(help="A run folder to go on with, by its own settings.")
    ] = None,
) -> None:
    """Train on a folder of labelled photos and write a run folder with a model to serve."""
    from ml.runs.run import run
    from ml.training.config import Config

    config = Config(
        data=data,
        output=output,
        initial=initial,
        strategy=strategy,
        views=views,
        size=size,
        augment=augment,
        mixup=mixup,
        label_smoothing=label_smoothing,
        averaged_epochs=averaged_epochs,
        epochs=epochs,
        batch=batch,
        split=Split(seed=seed, test=test, validation=validation),
        precision=precision,
        network=network,
        freeze=freeze,
        teacher=teacher,
        others=others,
        patience=patience,
        time_budget=time_budget,
        limit_data=limit_data,
        workers=workers,
    )
    if resume is None:
        run(config, console)
        return
    stored = Config.read(resume)
    stored.agree(config, _given(context) - {"resume"})
    run(stored, console, resume=True)


@command
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model.onnx.")],
    data: Annotated[Path, typer.Argument(help="An image folder.")],
    split: Annotated[
        Literal["test", "validation", "train", "all"], typer.Option(help="Which of its photos.")
    ] = "test",
    by: Annotated[str, typer.Option(help="A column of index.csv to report by.")] = "",
    views: Annotated[int | None, typer.Option(help="Crops a side.", min=1, max=5)] = None,
    others: Annotated[
        Path | None, typer.Option(help="Photos of none of the classes, to be refused.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
) -> None:
    """Measure a model file on an image folder, through the path that serves.

    A folder without a split of its own is dealt out as it was when the model was trained; a
    data.json beside the model knows it, and what that does not name is of no split.
    """
    from ml.data.image_folder import scan, scan_ood
    from ml.data.recorded_split import split_as_trained
    from ml.evaluation.evaluate import evaluate, show_metrics

    predictor = Predictor(model)
    if views is not None:
        predictor.engine.card = predictor.card.with_grid(views)
    folder = split_as_trained(scan(data), model.parent, predictor.card.split, errors)
    ood = scan_ood(others) if others is not None else []
    scores = evaluate(predictor, folder.of(split), by, ood)
    show_metrics(scores, console)
    if json_file is not None:
        json_file.write_text(json.dumps(scores, indent=2), encoding="utf-8")


@command
def calibrate(
    model: Annotated[Path, typer.Argument(help="A model.onnx; its card is rewritten.")],
    data: Annotated[Path, typer.Argument(help="An image folder.")],
    precision: Annotated[
        float, typer.Option(help="Share of accepted answers to be right.", min=0.5, max=0.9999)
    ] = 0.99,
) -> None:
    """Fit a model's temperature and threshold again, on a folder's validation photos.

    A folder without a split of its own is dealt out as it was when the model was trained. In a
    run folder the scores, the answers and the report are written anew.
    """
    from ml.data.image_folder import scan
    from ml.data.recorded_split import split_as_trained
    from ml.report.page import write_report
    from ml.runs.calibrate import recalibrate, show_calibration

    folder = split_as_trained(scan(data), model.parent, Predictor(model).card.split, errors)
    show_calibration(recalibrate(model, folder, precision), console)
    if model.with_name("report.html").exists():
        write_report(model.parent)


@command
def predict(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders, and patterns such as 'photos/**/*.jpg'.")
    ],
    model: Annotated[Path, typer.Option(help="A model.onnx.")] = SHIPPED_MODEL,
    format: Annotated[
        Literal["table", "csv", "jsonl"],
        typer.Option(help="For people, for a spreadsheet, or JSON lines with all there is."),
    ] = "table",
) -> None:
    """Say what is on photos, row by row as they are done.

    A file that is no photo is named at the end, and the rest goes on; the exit status is 1 then.
    """
    predictor = Predictor.open(model)
    failed = write_predictions(
        predict_files(predictor, find(paths)), format, predictor.card.classes
    )
    for path, rejected in failed:
        errors.print(f"{path}: {rejected.reason}")
    if failed:
        errors.print(f"No answer for {len(failed)} files.", style="red")
        raise typer.Exit(1)


@command
def score(
    sources: Annotated[
        list[str], typer.Argument(help="Folders, files, patterns; s3://, gs:// and other URLs.")
    ],
    output: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    model: Annotated[Path, typer.Option(help="A model.onnx.")] = SHIPPED_MODEL,
    ray: Annotated[
        str, typer.Option(help="A Ray cluster to work on: auto, local or its address.")
    ] = "",
    precision: Annotated[
        Literal["auto", "float32", "int8"],
        typer.Option(help="auto: int8 where that costs next to nothing and this machine can."),
    ] = "auto",
) -> None:
    """Score photos by the million into one Parquet file; run it again after it was interrupted.

    A file that is no photo has its reason in the column `error`, and the exit status is 0.
    """
    from ml.scoring.local import open_scoring_model, score, score_locally

    opened = open_scoring_model(model, precision)
    if not ray:
        score(sources, output, opened, console, score_locally)
        return
    from ml.scoring.ray import cluster

    with cluster(ray) as score_on_ray:
        score(sources, output, opened, console, score_on_ray)


@command
def export(
    source: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    output: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise: about twice as fast, a little less exact.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="The image folder that it was trained on, for --int8.")
    ] = None,
) -> None:
    """Write an ONNX file and check it against PyTorch; nothing is written if they disagree.

    With --int8 ranges are taken from the folder's training photos, and accuracy and agreement
    with float32 are measured on its others. `model.int8.onnx` beside `model.onnx` is served in
    its place where that costs next to no accuracy.
    """
    from ml.export.onnx import export

    if int8 != (calibration is not None):
        raise typer.BadParameter("--int8 and --calibration go together.")
    if calibration is not None:
        from ml.export.int8 import export_int8, show_quantised

        show_quantised(export_int8(source, output, calibration), console)
        return
    difference = export(source, output)
    console.print(f"{output}: agrees with PyTorch to {difference:.1e}.")


@command
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's report anew from what its folder holds."""
    from ml.report.page import write_report

    console.print(f"{write_report(run)}", markup=False, soft_wrap=True)


@command
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Where to draw.")],
    images_per_class: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    others: Annotated[
        bool, typer.Option("--others", help="Draw pictures of none of the classes instead.")
    ] = False,
) -> None:
    """Draw a small set of pictures of the four classes, or of none of them."""
    from ml.data.synthetic import synthesize
    from ml.data.synthetic_ood import synthesize_ood

    draw = synthesize_ood if others else synthesize
    draw(folder, images_per_class, seed)
    console.print(f"{folder}: {images_per_class} pictures of each {'kind' if others else 'class'}.")


@command
def inspect(
    path: Annotated[Path, typer.Argument(help="A model file, a run folder or an image folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it, for programs.")] = False,
) -> None:
    """Say what is in a model file, or in an image folder before one trains on it."""
    from ml.cli.inspect import inspect

    inspect(path, as_json, console)


def _given(context: typer.Context) -> set[str]:
    """Name the options that stand on the command line."""
    source = context.get_parameter_source
    return {name for name in context.params if getattr(source(name), "name", "") == "COMMANDLINE"}


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="surrogateescape")
    cli()

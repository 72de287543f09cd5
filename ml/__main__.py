"""The command line: `python -m ml COMMAND`, or `skyspotter COMMAND`.

Commands import what they need when they run: `predict` works where torch is not installed.
"""

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal, ParamSpec

import typer
from rich.console import Console

from ml.card import Split
from ml.errors import ImageError, SkyspotterError
from ml.predictor import SHIPPED_MODEL, Predictor

Parameters = ParamSpec("Parameters")

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, measure, export and use a Skyspotter classifier.",
)
console = Console()
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def command(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Add a command whose own errors are one line for a person, and exit status 1."""

    @wraps(function)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except SkyspotterError as error:
            errors.print(str(error), style="red")
            raise typer.Exit(1) from error
        except OSError as error:
            errors.print(f"{error.filename or function.__name__}: {error.strerror}.", style="red")
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            errors.print(f"This command needs the package {error.name}: run `make install`.")
            raise typer.Exit(1) from error

    return cli.command()(guarded)


@command
def train(
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
        float, typer.Option(help="Epochs that parameters are averaged over (EMA).", min=0)
    ] = 2.0,
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch: Annotated[int, typer.Option(min=2)] = 32,
    seed: Annotated[int, typer.Option()] = 0,
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
    workers: Annotated[int, typer.Option(help="Processes that load photos.", min=0)] = 1,
) -> None:
    """Train on a folder of labelled photos and write a run folder with a model to serve."""
    from ml.run import run
    from ml.trainer import Config

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
        workers=workers,
    )
    run(config, console)


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

    A folder without a split of its own is dealt out as it was when the model was trained.
    """
    from ml.evaluate import evaluate, show
    from ml.folder import divide, pictures_of_no_class, scan

    predictor = Predictor(model)
    if views is not None:
        predictor.engine.card = predictor.card.with_views(views)
    folder = divide(scan(data), predictor.card.split)
    strangers = pictures_of_no_class(others) if others is not None else []
    scores = evaluate(predictor, folder.of(split), by, strangers)
    show(scores, console)
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

    A folder without a split of its own is dealt out as it was when the model was trained.
    """
    from ml.folder import divide, scan
    from ml.served import recalibrate, show_calibration

    folder = divide(scan(data), Predictor(model).card.split)
    show_calibration(recalibrate(model, folder, precision), console)


@command
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    model: Annotated[Path, typer.Option(help="A model.onnx.")] = SHIPPED_MODEL,
) -> None:
    """Say what is on photos; a file that is no photo is named, and the rest goes on."""
    predictor = Predictor(model)
    failed = 0
    for path in (file for each in paths for file in _files(each)):
        try:
            answer = predictor.predict(path)
            print(f"{path}\t{answer.label}\t{answer.confidence:.3f}")
        except (ImageError, OSError) as error:
            failed += 1
            print(f"{path}\t{_reason(error)}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@command
def export(
    source: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    output: Annotated[Path, typer.Option(help="The ONNX file to write.")],
) -> None:
    """Write an ONNX file and check it against PyTorch; nothing is written if they disagree."""
    from ml.export import export

    difference = export(source, output)
    console.print(f"{output}: agrees with PyTorch to {difference:.1e}.")


@command
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's report anew from what its folder holds."""
    from ml.report import report

    console.print(f"{report(run)}", markup=False, soft_wrap=True)


@command
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Where to draw.")],
    images_per_class: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option()] = 0,
    others: Annotated[
        bool, typer.Option("--others", help="Draw pictures of none of the classes instead.")
    ] = False,
) -> None:
    """Draw a small set of pictures of the four classes, or of none of them."""
    from ml.synthesize import synthesize
    from ml.synthesize_others import synthesize_others

    draw = synthesize_others if others else synthesize
    draw(folder, images_per_class, seed)
    console.print(f"{folder}: {images_per_class} pictures of each {'kind' if others else 'class'}.")


@command
def inspect(path: Annotated[Path, typer.Argument(help="A model file or an image folder.")]) -> None:
    """Say what is in a model file or an image folder."""
    if path.is_dir():
        from ml.folder import scan

        console.print_json(data=scan(path).summary())
    elif path.suffix == ".safetensors":
        from ml.checkpoint import load

        console.print_json(data=load(path)[1].model_dump(mode="json"))
    else:
        console.print_json(data=Predictor(path).card.model_dump(mode="json"))


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _reason(error: Exception) -> str:
    return error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)


def main() -> None:
    """Run the command line."""
    cli()


if __name__ == "__main__":
    main()

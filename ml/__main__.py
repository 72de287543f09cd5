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
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch: Annotated[int, typer.Option(min=2)] = 32,
    seed: Annotated[int, typer.Option()] = 0,
    test: Annotated[
        float, typer.Option(help="Share that is never trained on.", min=0, max=0.99)
    ] = 0.3,
    validation: Annotated[
        float, typer.Option(help="Share of the rest that selects.", min=0, max=0.99)
    ] = 0.15,
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
        int, typer.Option(help="Photos of a class to use, to try things out; 0: all.", min=0)
    ] = 0,
    workers: Annotated[int, typer.Option(help="Processes that load photos.", min=0)] = 1,
    resume: Annotated[
        Path | None, typer.Option(help="A run folder to go on with, by its own settings.")
    ] = None,
) -> None:
    """Train on a folder of labelled photos and write a run folder with a model to serve."""
    from ml.config import Config
    from ml.run import run

    config = Config(
        data=data,
        output=output,
        initial=initial,
        strategy=strategy,
        views=views,
        epochs=epochs,
        batch=batch,
        split=Split(seed=seed, test=test, validation=validation),
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
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
) -> None:
    """Measure a model file on an image folder, through the path that serves.

    A folder without a split of its own is dealt out as it was when the model was trained.
    """
    from ml.evaluate import evaluate, show
    from ml.folder import divide, scan

    predictor = Predictor(model)
    if views is not None:
        predictor.engine.card = predictor.card.with_views(views)
    folder = divide(scan(data), predictor.card.split)
    scores = evaluate(predictor, folder.of(split), by)
    show(scores, console)
    if json_file is not None:
        json_file.write_text(json.dumps(scores, indent=2), encoding="utf-8")


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
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Where to draw.")],
    images_per_class: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Draw a small set of pictures of the four classes."""
    from ml.synthesize import synthesize

    synthesize(folder, images_per_class, seed)
    console.print(f"{folder}: {images_per_class} pictures of each class.")


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


def _given(context: typer.Context) -> set[str]:
    """Name the options that stand on the command line."""
    source = context.get_parameter_source
    return {name for name in context.params if getattr(source(name), "name", "") == "COMMANDLINE"}


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _reason(error: Exception) -> str:
    return error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)


def main() -> None:
    """Run the command line."""
    cli()


if __name__ == "__main__":
    main()

"""What all commands of the command line have in common: examples, and errors that are one line."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import typer
from rich.console import Console

from ml.errors import SkyspotterError

Parameters = ParamSpec("Parameters")

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, measure, export and use a Skyspotter classifier.",
)
EXAMPLES = {
    "train": (
        "train",
        "train path/to/folder --output runs/mine",
        "train path/to/folder --initial runs/mine/model.safetensors --epochs 5",
    ),
    "evaluate": (
        "evaluate runs/latest/model.onnx path/to/folder",
        "evaluate weights/model.onnx path/to/folder --split all --json scores.json",
    ),
    "predict": (
        "predict photo.jpg",
        "predict folder 'more/**/*.jpg' --format csv > answers.csv",
        "predict folder --model runs/latest/model.onnx --format jsonl | head",
    ),
    "score": (
        "score path/to/folder --output predictions.parquet",
        "score 's3://bucket/photos/**/*.jpg' --output predictions.parquet",
        "score gs://bucket/photos --output predictions.parquet --ray auto",
    ),
    "calibrate": ("calibrate weights/model.onnx path/to/folder --precision 0.95",),
    "export": (
        "export runs/latest --output model.onnx",
        "export runs/latest --output model.int8.onnx --int8 --calibration path/to/folder",
    ),
    "report": ("report runs/latest",),
    "synthesize": ("synthesize pictures --images-per-class 20 --seed 1",),
    "inspect": (
        "inspect weights/model.onnx",
        "inspect path/to/folder",
        "inspect path/to/folder --json > data.json",
    ),
}
EXTRAS = {"pyarrow": "bulk", "fsspec": "bulk", "ray": "ray"}
"""Which packages come with which extra; all others with `training`."""

console = Console()
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def command(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Add a command whose own errors are one line for a person, and exit status 1."""

    @wraps(function)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except BrokenPipeError:  # the reader, such as `head`, has enough: Click ends quietly
            raise
        except SkyspotterError as error:
            errors.print(str(error), style="red")
            raise typer.Exit(1) from error
        except OSError as error:
            reason = error.strerror or error
            errors.print(f"{error.filename or function.__name__}: {reason}.", style="red")
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(str(error.name).partition(".")[0], "training")
            errors.print(
                f"This command needs the package {error.name}: run `make install`, or "
                f"`pip install --constraint constraints.txt --editable '.[{extra}]'`."
            )
            raise typer.Exit(1) from error

    examples = [f"  python -m ml {line}" for line in EXAMPLES.get(function.__name__, ())]
    return cli.command(epilog="\n".join(["\b", "Examples:", *examples]))(guarded)

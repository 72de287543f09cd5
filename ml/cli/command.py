"""Shared by all commands: help with examples, old option names, and errors in one line."""

import re
from collections.abc import Callable
from functools import wraps
from inspect import getdoc
from typing import Any, ParamSpec

import typer
from rich.console import Console
from typer.core import TyperCommand

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
        "predict folder 'more/**/*.jpg' --format csv > predictions.csv",
        "predict folder --model runs/latest/model.onnx --format jsonl | head",
    ),
    "score": (
        "score path/to/folder --output predictions.parquet",
        "score 's3://bucket/photos/**/*.jpg' --output predictions.parquet",
        "score gs://bucket/photos --output predictions.parquet --ray auto",
    ),
    "calibrate": ("calibrate weights/model.onnx path/to/folder --target-precision 0.95",),
    "export": (
        "export runs/latest --output model.onnx",
        "export runs/latest --output model.int8.onnx --int8 --calibration-data path/to/folder",
    ),
    "report": ("report runs/latest",),
    "synthesize": ("synthesize pictures --images-per-class 20 --seed 1",),
    "inspect": (
        "inspect weights/model.onnx",
        "inspect path/to/folder",
        "inspect path/to/folder --json > data.json",
    ),
}
OLD_OPTIONS = {
    "train": {"--precision": "--target-precision", "--others": "--ood", "--views": "--grid"},
    "evaluate": {"--others": "--ood", "--views": "--grid"},
    "calibrate": {"--precision": "--target-precision"},
    "export": {"--calibration": "--calibration-data"},
    "synthesize": {"--others": "--ood"},
}
"""Names of older versions, which are accepted but not shown in the help."""
EXTRAS = {"pyarrow": "bulk", "fsspec": "bulk", "ray": "ray"}
"""The extra that installs a package; `training` installs all other packages."""

console = Console()
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


class Command(TyperCommand):
    """A command that accepts old names of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace old option names before parsing."""
        renamed = OLD_OPTIONS.get(str(self.name), {})
        end = args.index("--") if "--" in args else len(args)
        for i, argument in enumerate(args[:end]):
            name, equals, value = argument.partition("=")
            args[i] = renamed.get(name, name) + equals + value
        return super().parse_args(ctx, args)


def command(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Add a command. Expected errors are printed in one line; the exit status is then 1."""

    @wraps(function)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            function(*args, **kwargs)
            return
        except BrokenPipeError:  # a reader such as `head` has closed the pipe: Click ends quietly
            raise
        except SkyspotterError as error:
            message = str(error)
        except OSError as error:
            message = f"{error.filename or function.__name__}: {error.strerror or error}."
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(str(error.name).partition(".")[0], "training")
            message = (
                f"This command needs the package {error.name}: run `make install`, or "
                f"`pip install --constraint constraints.txt --editable '.[{extra}]'`."
            )
        errors.print(message, style="red")
        raise typer.Exit(1)

    examples = [f"  skyspotter {line}" for line in EXAMPLES.get(function.__name__, ())]
    # Typer would keep the docstring's line breaks.
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", getdoc(function) or "")
    epilog = "\n".join(["\b", "Examples:", *examples])
    return cli.command(cls=Command, help=text, epilog=epilog)(guarded)

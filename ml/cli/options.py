"""Command-line options made from the fields of a pydantic model."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from ml.training.config import Config


def with_config_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add an option to a command for each field of `Config` that has a description.

    Args:
        function: the command. Its first two parameters are the Config, and the names of the
            options that are on the command line; the others are options of its own.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[2:]
    fields = {name: field for name, field in Config.model_fields.items() if field.description}

    @wraps(function)
    def run(context: typer.Context, **values: Any) -> None:
        config = Config.model_validate({name: values.pop(name) for name in fields})
        sources = {name: context.get_parameter_source(name) for name in context.params}
        given = {
            name for name, source in sources.items() if source and source.name == "COMMANDLINE"
        }
        function(config, given, **values)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(_parameter(name, field) for name, field in fields.items()),
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    bounds = {
        option: getattr(bound, attribute)
        for bound in field.metadata
        for attribute, option in (("ge", "min"), ("le", "max"))
        if hasattr(bound, attribute)
    }
    kind = typer.Argument if name == "data" else typer.Option
    info = kind(help=field.description, **bounds)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[field.annotation, info],
    )

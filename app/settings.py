"""What can be set from outside: environment variables `SKYSPOTTER_…`, read once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.logs import on_lambda
from ml.cpus import usable_cpus
from ml.engines.loader import EngineChoice, PrecisionChoice
from ml.images.decode import MAX_PIXELS
from ml.predictor import SHIPPED_MODEL

PREFIX = "SKYSPOTTER_"


def _split(value: Any) -> Any:
    """Lists come as one text, with commas."""
    return [part for part in map(str.strip, value.split(",")) if part] if value else value


def _prefix(value: Any) -> Any:
    """`prod`, `/prod` and `/prod/` all mean `/prod`."""
    return f"/{value.strip('/')}" if isinstance(value, str) and value.strip("/") else ""


def _threads() -> int:
    """Share the CPUs with the other workers; uvicorn reads the same variable."""
    return max(1, usable_cpus() // int(os.environ.get("WEB_CONCURRENCY") or 1))


def _max_body_bytes() -> int:
    """Lambda takes 6 MB, body in base64 and head together: less is refused in our own words."""
    return 4_500_000 if on_lambda() else 20_000_000


Listed = Annotated[tuple[str, ...], BeforeValidator(lambda v: _split(v) if type(v) is str else v)]


class Settings(BaseModel):
    """All settings; each field is the variable `SKYSPOTTER_<FIELD>` in capitals."""

    model_config = ConfigDict(frozen=True)

    model: Annotated[Path, Field(description="The ONNX file to serve.")] = SHIPPED_MODEL
    engine: Annotated[
        EngineChoice,
        Field(description="What runs it: `auto`, `onnxruntime`, `openvino` or `torch`."),
    ] = "auto"
    precision: Annotated[
        PrecisionChoice,
        Field(description="`float32`, `int8`, or `auto`: int8 where that is as good."),
    ] = "auto"
    threads: Annotated[
        int, Field(ge=1, description="Photos predicted at a time by a worker, each on one core.")
    ] = Field(default_factory=_threads)
    max_body_bytes: Annotated[int, Field(ge=1, description="Largest request body.")] = Field(
        default_factory=_max_body_bytes
    )
    max_pixels: Annotated[
        # Above, Pillow's own guard against decompression bombs answers first.
        int, Field(ge=1, le=89_000_000, description="Largest photo, width x height.")
    ] = MAX_PIXELS
    max_files: Annotated[int, Field(ge=1, description="Most photos in one batch.")] = 32
    queue_limit: Annotated[
        int, Field(ge=0, description="Requests that may wait in a worker; more are refused.")
    ] = 64
    timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest time for one request, once its head has come.")
    ] = 30.0
    api_keys: Annotated[
        Listed, Field(repr=False, description="Keys, with commas; one of them is asked for.")
    ] = ()
    cors_origins: Annotated[
        Listed, Field(description="Origins whose pages may call, with commas; `*` for all.")
    ] = ()
    root_path: Annotated[
        str,
        BeforeValidator(_prefix),
        Field(description="Path prefix that a proxy or API stage strips, such as `/prod`."),
    ] = ""
    log_format: Annotated[
        Literal["console", "json"],
        Field(description="One line a request, for people or programs: `console` or `json`."),
    ] = "console"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables that are set; an empty one counts as unset.

        Raises:
            pydantic.ValidationError: which names the setting and what it may be.
        """
        names = {name: f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        return cls.model_validate(
            {name: environment[key] for name, key in names.items() if environment.get(key)}
        )

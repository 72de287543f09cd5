"""Settings: environment variables `SKYSPOTTER_…`, read once."""

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
    """Split a comma-separated list."""
    if not isinstance(value, str):
        return value
    return [part for part in map(str.strip, value.split(",")) if part]


def _prefix(value: Any) -> Any:
    """Normalise `prod`, `/prod` and `/prod/` to `/prod`."""
    return f"/{value.strip('/')}" if isinstance(value, str) and value.strip("/") else ""


def _threads() -> int:
    """Divide the CPUs among the workers; uvicorn reads WEB_CONCURRENCY too."""
    return max(1, usable_cpus() // int(os.environ.get("WEB_CONCURRENCY") or 1))


def _max_body_bytes() -> int:
    """Lambda accepts 6 MB (headers and base64 body): stay below it, to answer 413 ourselves."""
    return 4_500_000 if on_lambda() else 20_000_000


Listed = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Settings(BaseModel):
    """All settings. Each field is the environment variable `SKYSPOTTER_<FIELD>` in capitals."""

    model_config = ConfigDict(frozen=True)

    model: Path = Field(SHIPPED_MODEL, description="The ONNX file to serve.")
    engine: EngineChoice = Field(
        "auto", description="The inference engine: `auto`, `onnxruntime`, `openvino` or `torch`."
    )
    precision: PrecisionChoice = Field(
        "auto", description="`float32`, `int8`, or `auto`: int8 if it is almost as accurate."
    )
    threads: int = Field(
        default_factory=_threads,
        ge=1,
        description="Photos that a worker classifies at a time, each on one core.",
    )
    max_body_bytes: int = Field(
        default_factory=_max_body_bytes, ge=1, description="Largest request body in bytes."
    )
    # Above 89 million, Pillow's own limit for decompression bombs applies first.
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, le=89_000_000, description="Largest photo in pixels, width x height."
    )
    max_files: int = Field(32, ge=1, description="Largest number of photos in a batch.")
    queue_limit: int = Field(
        64, ge=0, description="Requests that may wait in a worker; more are rejected."
    )
    timeout_seconds: float = Field(
        30.0, gt=0, description="Longest time for a request after its headers are received."
    )
    api_keys: Listed = Field(
        (), repr=False, description="Comma-separated API keys; clients must send one of them."
    )
    cors_origins: Listed = Field(
        (), description="Comma-separated origins whose pages may send requests; `*` for all."
    )
    root_path: Annotated[str, BeforeValidator(_prefix)] = Field(
        "", description="Path prefix that a proxy or API stage strips, such as `/prod`."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="Log lines for people (`console`) or for programs (`json`)."
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables that are set. An empty one counts as unset.

        Raises:
            pydantic.ValidationError: if a value is invalid; it names the setting.
        """
        names = {name: f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        return cls.model_validate(
            {name: environment[key] for name, key in names.items() if environment.get(key)}
        )

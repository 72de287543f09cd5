"""What can be set from outside: environment variables `SKYSPOTTER_…`, read once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ml.cpus import usable_cpus
from ml.image import MAX_PIXELS
from ml.predictor import SHIPPED_MODEL

PREFIX = "SKYSPOTTER_"


class Settings(BaseModel):
    """All settings; each field is the variable `SKYSPOTTER_<FIELD>` in capitals."""

    model_config = ConfigDict(frozen=True)

    model: Annotated[Path, Field(description="The ONNX file to serve.")] = SHIPPED_MODEL
    threads: Annotated[
        int, Field(ge=1, description="Photos predicted at a time, each on one core.")
    ] = Field(default_factory=usable_cpus)
    max_body_bytes: Annotated[int, Field(ge=1, description="Largest request body.")] = 20_000_000
    max_pixels: Annotated[
        # Above, Pillow's own guard against decompression bombs answers first.
        int, Field(ge=1, le=89_000_000, description="Largest photo, width x height.")
    ] = MAX_PIXELS
    root_path: Annotated[
        str, Field(description="Path prefix that a proxy or API stage strips, such as `/prod`.")
    ] = ""

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

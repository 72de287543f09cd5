"""Generated requests, valid and nearly valid, get the responses that the OpenAPI document lists."""

from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.checks import ignored_auth, positive_data_acceptance

from app.main import create_app
from app.settings import Settings


def loaded() -> FastAPI:
    app = create_app(Settings())
    app.state.service.inference.load()
    return app


schema = schemathesis.openapi.from_asgi("/openapi.json", loaded())


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_response_is_documented(case: Any) -> None:
    # A schema cannot describe the bytes of a photo, and without keys no request is rejected.
    case.call_and_validate(excluded_checks=[positive_data_acceptance, ignored_auth])

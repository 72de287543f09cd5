from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings


@contextmanager
def serving(**settings: Any) -> Iterator[TestClient]:
    """A client of an app with the shipped model, loaded, and these settings."""
    app = create_app(Settings(**settings))
    app.state.inference.load()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    with serving() as client:
        yield client

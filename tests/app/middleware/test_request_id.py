"""The id of a request: the client's own, or a new one."""

import pytest
from fastapi.testclient import TestClient


def test_the_id_of_the_client_is_kept(client: TestClient, photo: bytes) -> None:
    headers = {"X-Request-ID": "order-17/photo.3"}
    response = client.post("/predict", content=photo, headers=headers)
    assert response.headers["X-Request-ID"] == "order-17/photo.3"
    assert response.json()["request_id"] == "order-17/photo.3"


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, "x\ty", '"quoted"'])
def test_an_invalid_id_is_replaced(client: TestClient, given: str) -> None:
    own = client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert own != given
    assert len(own) == 32


def test_every_request_has_a_different_id(client: TestClient) -> None:
    ids = {client.get("/health").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5

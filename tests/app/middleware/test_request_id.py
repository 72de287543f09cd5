import pytest
from fastapi.testclient import TestClient


def test_a_callers_id_is_kept(client: TestClient, photo: bytes) -> None:
    headers = {"X-Request-ID": "order-17/photo.3"}
    response = client.post("/predict", content=photo, headers=headers)
    assert response.headers["X-Request-ID"] == "order-17/photo.3"
    assert response.json()["request_id"] == "order-17/photo.3"


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, "x\ty", '"quoted"'])
def test_an_unfit_id_is_replaced(client: TestClient, given: str) -> None:
    own = client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert own != given
    assert len(own) == 32


def test_every_request_has_its_own(client: TestClient) -> None:
    ids = {client.get("/health").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5

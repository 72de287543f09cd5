"""Security headers on every response."""

from fastapi.testclient import TestClient

from app.middleware.security_headers import HEADERS


def test_every_response_has_the_headers(client: TestClient, photo: bytes) -> None:
    for answer in (client.post("/predict", content=photo), client.get("/nowhere")):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS

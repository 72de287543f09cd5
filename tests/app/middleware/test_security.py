from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.middleware.security_headers import HEADERS
from app.settings import Settings
from tests.app.helpers import check, serving

KEYS = ("first-key", "zweiter-Schlüssel")


def test_a_key_is_asked_for(photo: bytes) -> None:
    with serving(api_keys=KEYS) as client:
        for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer first-ke"}):
            for route in ("/predict", "/predict/batch"):
                refused = client.post(route, content=photo, headers=headers)
                check(refused, 401, "unauthorized")
                assert refused.headers["WWW-Authenticate"] == "Bearer"
            check(client.get("/model", headers=headers), 401, "unauthorized")
        # A second slash, a Host that looks like a path: they do not get round it.
        assert client.post("//predict", content=photo).status_code in (401, 404, 405)
        strange = client.post("/predict", content=photo, headers={"Host": "x/health?"})
        assert strange.status_code in (400, 401)


def test_each_way_to_send_a_key(photo: bytes) -> None:
    with serving(api_keys=KEYS) as client:
        ways: tuple[dict[str, Any], ...] = (
            {"X-API-Key": KEYS[0]},
            {"X-API-Key": KEYS[1].encode()},
            {"Authorization": f"Bearer {KEYS[0]}"},
        )
        for headers in ways:
            assert client.post("/predict", content=photo, headers=headers).status_code == 200


def test_probes_need_no_key() -> None:
    with serving(api_keys=KEYS) as client:
        for route in ("/health", "/health/live", "/metrics", "/docs", "/openapi.json"):
            assert client.get(route).status_code == 200


def test_swagger_offers_authorize(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    kinds = {scheme["type"] for scheme in document["components"]["securitySchemes"].values()}
    assert kinds == {"http", "apiKey"}
    assert document["paths"]["/predict"]["post"]["security"]


def test_keys_are_not_shown() -> None:
    settings = Settings.from_environment({"SKYSPOTTER_API_KEYS": "secret, other"})
    assert settings.api_keys == ("secret", "other")
    assert "secret" not in repr(settings)


def test_every_answer_has_the_headers(client: TestClient, photo: bytes) -> None:
    for answer in (client.post("/predict", content=photo), client.get("/nowhere")):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_a_500_has_them_too(photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("of nobody's business")

    with serving(cors_origins=("https://app.example",)) as client:
        monkeypatch.setattr("ml.predictor.Predictor.predict", fails)
        headers = {"Origin": "https://app.example"}
        answer = client.post("/predict", content=photo, headers=headers)
    check(answer, 500, "internal_error")
    assert "business" not in answer.text
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_other_origins_may_call_only_where_allowed(photo: bytes) -> None:
    origin = {"Origin": "https://app.example"}
    with serving() as client:
        answer = client.post("/predict", content=photo, headers=origin)
        assert "access-control-allow-origin" not in answer.headers
    with serving(cors_origins=("https://app.example",)) as client:
        answer = client.post("/predict", content=photo, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        preflight = origin | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "X-API-Key",
        }
        assert client.options("/predict", headers=preflight).status_code == 200

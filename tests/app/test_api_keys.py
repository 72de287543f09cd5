"""Which routes require an API key, and how it can be sent."""

from typing import Any

from fastapi.testclient import TestClient

from app.settings import Settings
from tests.app.helpers import check, serving

KEYS = ("first-key", "zweiter-Schlüssel")


def test_protected_routes_require_a_key(photo: bytes) -> None:
    with serving(api_keys=KEYS) as client:
        for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer first-ke"}):
            for route in ("/predict", "/predict/batch"):
                rejected = client.post(route, content=photo, headers=headers)
                check(rejected, 401, "unauthorized")
                assert rejected.headers["WWW-Authenticate"] == "Bearer"
            check(client.get("/model", headers=headers), 401, "unauthorized")
        # Neither a second slash nor a Host that looks like a path bypasses the check.
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


def test_public_routes_require_no_key() -> None:
    with serving(api_keys=KEYS) as client:
        for route in ("/health", "/health/live", "/metrics", "/docs", "/openapi.json"):
            assert client.get(route).status_code == 200


def test_openapi_describes_the_keys(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    kinds = {scheme["type"] for scheme in document["components"]["securitySchemes"].values()}
    assert kinds == {"http", "apiKey"}
    assert document["paths"]["/predict"]["post"]["security"]


def test_keys_are_not_in_the_repr() -> None:
    settings = Settings.from_environment({"SKYSPOTTER_API_KEYS": "secret, other"})
    assert settings.api_keys == ("secret", "other")
    assert "secret" not in repr(settings)


def test_every_route_of_the_api_is_protected_or_known_to_be_public(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    public = {
        path
        for path, operations in document["paths"].items()
        if not all("security" in operation for operation in operations.values())
    }
    assert public == {"/health", "/health/live", "/metrics"}

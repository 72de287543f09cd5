"""`create_app`: lifespan, prefix and CORS."""

from fastapi.testclient import TestClient

from app.main import create_app
from app.server.load_shedding import LoadShedder
from app.settings import Settings
from tests.app.helpers import serving, until


def test_the_lifespan_loads_the_model() -> None:
    with TestClient(create_app(Settings())) as client:
        until(lambda: client.get("/health").json()["status"] != "starting")
        assert client.get("/health").status_code == 200


def test_docs_behind_a_prefix() -> None:
    with serving(root_path="/prod") as client:
        assert '<base href="/prod/">' in client.get("/docs").text
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/prod"}]


def test_only_allowed_origins_get_cors_headers(photo: bytes) -> None:
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


def test_the_lifespan_state_holds_what_the_servers_protocol_needs() -> None:
    settings = Settings(timeout_seconds=7)
    with TestClient(create_app(settings)) as client:
        assert client.app_state["settings"] is settings
        assert isinstance(client.app_state["load_shedder"], LoadShedder)

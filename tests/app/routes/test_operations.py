"""Health and the model card."""

from fastapi.testclient import TestClient

from ml.predictor import Predictor


def test_health(client: TestClient, shipped: Predictor) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert response.json()["model"]["version"] == shipped.card.version
    assert client.get("/health/live").status_code == 200


def test_the_model_card(client: TestClient, shipped: Predictor) -> None:
    card = client.get("/model").json()
    assert card["classes"] == list(shipped.card.classes)
    assert card["threshold"] == shipped.card.threshold
    assert card["preprocessing"] == shipped.card.preprocessing.model_dump()
    assert card["scores"]["validation"]["accuracy"] > 0.9
    assert {"engine", "precision", "version", "name", "temperature"} <= set(card)

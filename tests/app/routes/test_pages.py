"""The web page and Swagger UI: small, self-contained, and with strict policies."""

import re

import pytest
from fastapi.testclient import TestClient

from app.routes.pages import DOCS_POLICY, PAGE, PAGE_POLICY
from tests.app.helpers import serving

FILES = sorted(PAGE.iterdir())


def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    assert sum(file.stat().st_size for file in FILES) < 60_000
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        addresses = set(re.findall(r"\w+://[^\s\"'`)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file.name
        assert not re.search(r"""(?:src|href)=["']/""", text), "would leave ROOT_PATH"


@pytest.mark.parametrize(("path", "policy"), [("/", PAGE_POLICY), ("/docs", DOCS_POLICY)])
def test_pages_with_a_strict_policy(client: TestClient, path: str, policy: str) -> None:
    response = client.get(path)
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Content-Security-Policy"] == policy
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", response.text)
    assert "<base" not in response.text
    assert client.head(path).status_code == 200
    for name in re.findall(r'(?:src|href)="(page/[^"]+)"', response.text):
        assert client.get(f"/{name}").status_code == 200


@pytest.mark.parametrize("name", ["style.css", "page.js", "swagger-ui-bundle.js"])
def test_files_are_cached_with_etags(client: TestClient, name: str) -> None:
    first = client.get(f"/page/{name}")
    assert re.match("text/(css|javascript)", first.headers["Content-Type"])
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    again = client.get(f"/page/{name}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Fweb.py", "%2Fetc%2Fpasswd", "a%00b", ".", "x" * 300]
)
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    response = client.get(f"/page/{name}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_the_root_path_is_the_base_url_and_is_escaped() -> None:
    with serving(root_path="/prod") as client:
        for path in ("/", "/docs"):
            assert '<base href="/prod/">' in client.get(path).text
        assert client.get("/page/page.js").status_code == 200
    with serving(root_path='/"><script>') as client:
        assert "<script>" not in client.get("/").text

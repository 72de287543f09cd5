"""Reading photos from forms and bodies, within limits."""

import json

import pytest
from fastapi.testclient import TestClient

from tests.app.helpers import check, serving


def test_no_body(client: TestClient) -> None:
    check(client.post("/predict"), 400, "no_image")


def test_a_form_without_the_file(client: TestClient, photo: bytes) -> None:
    check(client.post("/predict", files={"picture": photo}), 400, "no_image")
    check(client.post("/predict", files={"x": (None, b"1")}), 400, "no_image")
    check(client.post("/predict", files={"file": (None, b"text")}), 400, "no_image")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form(client: TestClient, content_type: str) -> None:
    response = client.post("/predict", content=b"junk", headers={"Content-Type": content_type})
    check(response, 400, "no_image")


@pytest.mark.parametrize(
    ("charset", "name"),
    [("undefined", "a"), ("idna", "xn--a"), ("utf-7", "+2AA-"), ("unicode_escape", r"\ud800")],
)
def test_the_charset_of_a_form_is_ignored(
    client: TestClient, photo: bytes, charset: str, name: str
) -> None:
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = head.encode() + photo + b"\r\n--x--\r\n"
    response = client.post("/predict/batch", content=body, headers=headers)
    assert response.status_code == 200
    assert response.json()["results"][0]["filename"] == name


def test_a_form_with_too_many_fields(client: TestClient, photo: bytes) -> None:
    fields = [(f"field{i}", (None, b"x")) for i in range(100)]
    check(client.post("/predict", files=[*fields, ("file", photo)]), 400, "no_image")


FORM = {"Content-Type": "multipart/form-data; boundary=x"}


PART = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n'


@pytest.mark.parametrize(
    "body",
    [
        PART % (b"field", b"") * 200_000,
        PART % (b"files", b'; filename="a"') * 200_000,
        b"--x\r\n" + b"X-A: b\r\n" * 1_000_000 + PART % (b"file", b'; filename="a"') + b"--x--",
        b"--x\r\nX-A: " + b"b" * 15_000_000 + b"\r\n\r\n",
        b"--x\r\n" + b"b" * 15_000_000,
        PART % (b"field", b"") + b"b" * 15_000_000,
        PART % (b"field", b'; filename="' + b"b" * 15_000_000 + b'"'),
        b"\r\n" * 7_000_000,
        b"--x--\r\n" + b"--x\r\n" * 2_000_000,
    ],
    ids=[
        "fields",
        "files",
        "headers",
        "a long header",
        "a long name of a header",
        "a long field",
        "a long filename",
        "empty lines",
        "an end, and more",
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_an_oversized_form_is_rejected(
    client: TestClient, photo: bytes, path: str, body: bytes
) -> None:
    # A quadratic parser would run into the time limit of the test.
    answer = client.post(path, content=body, headers=FORM)
    code = answer.json()["code"]
    check(answer, answer.status_code, code)
    assert (answer.status_code, code) in ((400, "no_image"), (413, "too_many_files"))
    assert client.post("/predict", content=photo).status_code == 200


def test_the_body_limit_holds_for_lengths_and_streams(photo: bytes) -> None:
    with serving(max_body_bytes=len(photo)) as client:
        assert client.post("/predict", content=photo).status_code == 200
        check(client.post("/predict", content=photo + b"x"), 413, "body_too_large")
        check(client.post("/predict", files={"file": photo}), 413, "body_too_large")
        # A generator is sent chunked, with no length announced.
        check(client.post("/predict", content=iter([photo, b"x"])), 413, "body_too_large")


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "image/png", "text/plain", "application/json", ""]
)
def test_the_content_type_of_a_body_is_ignored(
    client: TestClient, photo: bytes, content_type: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = client.post("/predict", content=photo, headers=headers)
    assert response.status_code == 200
    assert response.json()["image"]["format"] == "JPEG"


def test_a_form_with_several_photos_is_rejected(client: TestClient, photo: bytes) -> None:
    answer = client.post("/predict", files=[("file", photo)] * 2)
    check(answer, 413, "too_many_files")
    assert "/predict/batch" in answer.json()["detail"]


def test_openapi_describes_a_form_with_a_file(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert next(iter(body)) == "multipart/form-data"
    field = body["multipart/form-data"]["schema"]["properties"]["file"]
    assert field == {"type": "string", "format": "binary"}
    answers = document["paths"]["/predict"]["post"]["responses"]
    assert set(answers) == {"200", "400", "401", "413", "415", "422", "500", "503", "504"}
    assert "Prediction" in json.dumps(answers["200"])

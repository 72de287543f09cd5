import time

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.helpers import check, serving
from tests.helpers import encoded, png


@pytest.mark.parametrize("form", [True, False])
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"I am a text file.", 415, "unsupported_format"),
        (b"%PDF-1.7 ...", 415, "unsupported_format"),
        (b"", 400, "no_image"),
        (encoded(Image.effect_noise((300, 300), 50), "JPEG")[:4000], 422, "unreadable_image"),
        (b"\xff\xd8\xff" + bytes(100), 422, "unreadable_image"),
        (png(30_000, 30_000), 413, "too_many_pixels"),
    ],
)
def test_bad_photos(
    client: TestClient, photo: bytes, form: bool, content: bytes, status: int, code: str
) -> None:
    body = {"files": {"file": ("photo.jpg", content)}} if form else {"content": content}
    check(client.post("/predict", **body), status, code)
    assert client.post("/predict", content=photo).status_code == 200


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
def test_a_forms_own_word_for_its_encoding(
    client: TestClient, photo: bytes, charset: str, name: str
) -> None:
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = head.encode() + photo + b"\r\n--x--\r\n"
    response = client.post("/predict/batch", content=body, headers=headers)
    assert response.status_code == 200
    assert response.json()["results"][0]["filename"] == name


def test_many_fields(client: TestClient, photo: bytes) -> None:
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
def test_a_form_without_end_is_refused_cheaply(
    client: TestClient, photo: bytes, path: str, body: bytes
) -> None:
    before = time.process_time()
    answer = client.post(path, content=body, headers=FORM)
    assert time.process_time() - before < 5  # and most of it is the client's
    code = answer.json()["code"]
    check(answer, answer.status_code, code)
    assert (answer.status_code, code) in ((400, "no_image"), (413, "too_many_files"))
    assert client.post("/predict", content=photo).status_code == 200


def test_body_limit_is_kept_while_it_streams(photo: bytes) -> None:
    with serving(max_body_bytes=len(photo)) as client:
        assert client.post("/predict", content=photo).status_code == 200
        check(client.post("/predict", content=photo + b"x"), 413, "body_too_large")
        check(client.post("/predict", files={"file": photo}), 413, "body_too_large")
        # A generator is sent chunked, with no length announced.
        check(client.post("/predict", content=iter([photo, b"x"])), 413, "body_too_large")


def test_pixel_limit(photo: bytes) -> None:
    with serving(max_pixels=100) as client:
        check(client.post("/predict", content=photo), 413, "too_many_pixels")


@pytest.mark.parametrize("top_k", ["0", "-1", "many", ""])
def test_a_senseless_parameter_is_named(client: TestClient, photo: bytes, top_k: str) -> None:
    response = client.post("/predict", params={"top_k": top_k}, content=photo)
    check(response, 422, "invalid_parameter")
    assert "top_k" in response.json()["detail"]


def test_unknown_routes_and_methods(client: TestClient) -> None:
    check(client.get("/nowhere"), 404, "not_found")
    check(client.get("/predict"), 405, "method_not_allowed")


def test_short_memory_is_no_fault_of_the_photo(
    photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with serving() as client:
        monkeypatch.setattr("ml.images.decode.decode_jpeg", fail)
        check(client.post("/predict", content=photo), 500, "internal_error")
        monkeypatch.undo()
        assert client.post("/predict", content=photo).status_code == 200


def test_an_internal_error_tells_nothing(
    photo: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("ml.predictor.network_input", fail)
    with serving() as client:
        response = client.post("/predict", content=photo, headers={"X-Request-ID": "abc"})
    check(response, 500, "internal_error")
    assert "swordfish" not in response.text
    assert "Traceback" not in response.text
    assert "abc" in caplog.text

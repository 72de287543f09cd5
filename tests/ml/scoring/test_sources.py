import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from ml.errors import ScoringError, UnreadableImage, UnsupportedFormat
from ml.scoring.sources import absolute, fetch, list_sources
from tests.helpers import ROOT
from tests.ml.colours import write_colours

BASE = "fsspec+memory:///photos"


@pytest.fixture
def store(photo: bytes) -> MemoryFileSystem:
    """An object store in memory."""
    files = MemoryFileSystem()
    files.store.clear()
    for name in (
        "b.jpg",
        "a #1 %41.jpg",
        "deep/er/c.jpg",
        "deep/d.png",
        ".hidden",
        "deep/.e/f.jpg",
    ):
        files.pipe_file(f"/photos/{name}", photo)
    return files


def listed(*sources: str) -> list[str]:
    found = list(list_sources(sources))
    assert all(rejected is None for _, rejected in found)
    return [name.removeprefix(f"{BASE}/") for name, _ in found]


def test_a_url_is_a_folder_a_file_or_a_pattern(store: object) -> None:
    assert listed(BASE) == ["a #1 %41.jpg", "b.jpg", "deep/d.png", "deep/er/c.jpg"]
    assert listed(f"{BASE}/") == listed(BASE)
    assert listed(f"{BASE}/b.jpg") == ["b.jpg"]
    assert listed(f"{BASE}/*.jpg") == ["a #1 %41.jpg", "b.jpg"]
    assert listed(f"{BASE}/**/*.jpg") == ["a #1 %41.jpg", "b.jpg", "deep/er/c.jpg"]
    assert listed(f"{BASE}/d*/*.png") == ["deep/d.png"]


def test_listed_files_can_be_fetched(store: object, photo: bytes) -> None:
    assert [fetch(name) for name, _ in list_sources([BASE])] == [photo] * 4


def test_a_file_url_names_local_files(photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo)
    ((name, _),) = list_sources([f"file://{tmp_path}/*.jpg"])
    assert name == f"file://{tmp_path}/a.jpg"
    assert fetch(name) == photo


def test_a_file_url_does_not_follow_links_to_folders(photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = {
        name.removeprefix(f"file://{tmp_path}/"): rejected
        for name, rejected in list_sources([f"file://{tmp_path}"])
    }
    assert found.keys() == {"a.jpg", "loop"}
    assert found["a.jpg"] is None
    assert found["loop"]
    assert "link to a folder" in found["loop"].reason


def test_local_paths_and_missing_files(photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo)
    found = list(list_sources([str(tmp_path), f"{tmp_path}/missing"]))
    assert found[0] == (f"{tmp_path}/a.jpg", None)
    assert found[1][1]
    assert "no such file" in found[1][1].reason
    assert fetch(f"{tmp_path}/a.jpg") == photo


def test_a_url_without_files_is_rejected(store: object) -> None:
    for source in (f"{BASE}/missing.jpg", f"{BASE}/*.gif"):
        ((name, rejected),) = list_sources([source])
        assert name == source
        assert rejected
        assert "no such file" in rejected.reason


@pytest.mark.parametrize("source", ["nowhere://bucket/photos", f"{BASE}/**.jpg"])
def test_a_source_that_cannot_be_listed_is_a_scoring_error(store: object, source: str) -> None:
    with pytest.raises(ScoringError, match=r"cannot be listed"):
        list(list_sources([source]))


def test_any_exception_of_a_store_is_a_scoring_error(
    store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("token")

    monkeypatch.setattr(MemoryFileSystem, "info", broken)
    with pytest.raises(ScoringError, match=r"cannot be listed: 'token'"):
        list(list_sources([BASE]))


def test_a_pattern_lists_no_folder_below_its_own_depth(
    store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed_paths, find = list[str](), MemoryFileSystem.find

    def recording(self: MemoryFileSystem, path: str, **how: Any) -> Any:
        listed_paths.append(path)
        return find(self, path, **how)

    monkeypatch.setattr(MemoryFileSystem, "find", recording)
    assert listed(f"{BASE}/*.jpg") == ["a #1 %41.jpg", "b.jpg"]
    assert not any("deep" in path for path in listed_paths)
    assert listed_paths


def test_videos_and_missing_files_cannot_be_fetched(
    store: MemoryFileSystem, tmp_path: Path
) -> None:
    store.pipe_file("/photos/film.mp4", bytes(1 << 22))
    with pytest.raises(UnsupportedFormat):
        fetch(f"{BASE}/film.mp4")
    for name in (f"{BASE}/missing.jpg", f"{tmp_path}/missing.jpg"):
        with pytest.raises(OSError, match="missing"):
            fetch(name)


def test_an_object_that_is_too_large_is_rejected(
    store: MemoryFileSystem, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.images.decode.MAX_BYTES", 1 << 21)
    store.pipe_file("/photos/b.jpg", photo + bytes(1 << 22))
    with pytest.raises(UnreadableImage, match="GB"):
        fetch(f"{BASE}/b.jpg")


def test_a_stream_with_short_reads_is_read_to_its_end(
    store: MemoryFileSystem, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over HTTP, where a read returns the bytes that have arrived."""
    read = MemoryFile.read
    monkeypatch.setattr(MemoryFile, "read", lambda file, most=-1: read(file, min(most, 999)))
    long = photo + bytes(100_000)
    store.pipe_file("/photos/b.jpg", long)
    assert fetch(f"{BASE}/b.jpg") == long


def test_sources_are_made_absolute() -> None:
    assert absolute("photos/*.jpg") == os.path.join(os.getcwd(), "photos/*.jpg")
    assert absolute("s3://bucket/a/../b") == "s3://bucket/a/../b"


class S3(BaseHTTPRequestHandler):
    """The part of S3 that reading needs: objects, ranges and paged lists."""

    objects: dict[str, bytes]
    denied: set[str]  # objects whose next request is refused

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        key, query = unquote(url.path).removeprefix("/bucket").lstrip("/"), parse_qs(url.query)
        if not key:
            self._answer(200, self._list(query["prefix"][0], query.get("continuation-token")))
        elif key in self.denied:
            self.denied.remove(key)
            self._answer(403, b"")
        elif key not in self.objects:
            self._answer(404, b"")
        elif span := self.headers["Range"]:
            start, end = map(int, span.removeprefix("bytes=").split("-"))
            self._answer(206, self.objects[key][start : end + 1])
        else:
            self._answer(200, self.objects[key])

    def _list(self, prefix: str, after: list[str] | None) -> bytes:
        """List one entry per page, to test paging."""
        below = [key.removeprefix(prefix) for key in sorted(self.objects) if key.startswith(prefix)]
        first = (name.partition("/")[0] + "/" * ("/" in name) for name in below if name)
        entries = [name for name in dict.fromkeys(first) if not after or name > after[0]]
        xml = f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(entries[:1])}</KeyCount>"
        for name in entries[:1]:
            if name.endswith("/"):
                full = escape(prefix + name)
                xml += f"<CommonPrefixes><Prefix>{full}</Prefix></CommonPrefixes>"
            else:
                size = len(self.objects[prefix + name])
                xml += f"<Contents><Key>{escape(prefix + name)}</Key><Size>{size}</Size></Contents>"
        more = str(len(entries) > 1).lower()
        xml += f"<IsTruncated>{more}</IsTruncated>"
        if len(entries) > 1:
            xml += f"<NextContinuationToken>{escape(entries[0])}</NextContinuationToken>"
        return f"<ListBucketResult>{xml}</ListBucketResult>".encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Wed, 25 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def s3() -> Iterator[tuple[type[S3], dict[str, str]]]:
    """A store on loopback, and the environment variables that point to it."""

    class Store(S3):
        objects: dict[str, bytes] = {}
        denied: set[str] = set()

    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield (
            Store,
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_REGION": "eu-west-1",
            },
        )
        server.shutdown()


def test_photos_on_s3_are_scored(
    s3: tuple[type[S3], dict[str, str]], photo: bytes, tmp_path: Path
) -> None:
    store, variables = s3
    found = ["a #1 %41.jpg", "b&é.jpg", "deep/c.jpg", "later.jpg"]
    store.objects |= {f"photos/{name}": photo for name in [*found, "an//other.jpg"]}
    store.objects["elsewhere.jpg"] = photo
    store.denied |= {"photos/b&é.jpg", "photos/later.jpg"}
    output, model = tmp_path / "out.parquet", write_colours(tmp_path / "colours.onnx")
    command = [sys.executable, "-m", "ml", "score", "s3://bucket/photos", "--model", str(model)]
    command += ["--output", str(output)]
    subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=True, timeout=120)
    rows = pq.read_table(output).to_pylist()
    labelled = [row["path"].removeprefix("s3://bucket/photos/") for row in rows if row["label"]]
    assert sorted(labelled) == found
    assert not store.denied
    # Arrow has no name for this object, but it is not missed.
    assert [row["path"] for row in rows if row["error"]] == ["s3://bucket/photos/an//"]

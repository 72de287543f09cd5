import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ml.errors import ImageError, TooManyPixels, UnreadableImage
from ml.images import sandbox
from ml.images.decode import decode
from ml.images.photo import MAX_PIXELS, check_size
from tests.app.helpers import until
from tests.bombs import BOMBS
from tests.helpers import ROOT, encoded, picture

PNG = encoded(picture(), "PNG")
SIDE = 512


def new_child() -> "sandbox._Child":
    """The only idle child."""
    sandbox.end_idle()
    decode(PNG)
    (child,) = sandbox._idle
    return child


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_file_is_refused_or_decoded_within_the_limits(name: str) -> None:
    make, message = BOMBS[name]
    data = make()
    said = ""
    try:
        decode(data, needed_side=SIDE)
    except ImageError as error:
        said = str(error)
    assert message in said
    assert bool(said) == bool(message)


def test_photos_beside_and_after_a_hostile_file() -> None:
    bomb = BOMBS["GIF, comments"][0]()
    with ThreadPoolExecutor(4) as pool:
        refused = pool.submit(decode, bomb)
        photos = list(pool.map(decode, [PNG] * 10))
        with pytest.raises(UnreadableImage):
            refused.result()
    assert len({photo.pixels.tobytes() for photo in photos}) == 1
    assert len(sandbox._idle) <= 4


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_died_while_idle_is_replaced(how: signal.Signals) -> None:
    child = new_child()
    child.process.send_signal(how)
    child.process.wait()
    assert decode(PNG).info.format == "PNG"


def test_signals_to_the_group_do_not_end_a_child() -> None:
    child = new_child()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        child.process.send_signal(each)
    decode(PNG)
    assert sandbox._idle == [child]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.kill(os.getpid(), 9)", MemoryError),
        ("os.kill(os.getpid(), 27)", UnreadableImage),  # SIGPROF
        (f"os._exit({sandbox.OUT_OF_MEMORY})", UnreadableImage),
        ("os._exit(1)", RuntimeError),
    ],
)
def test_the_cause_of_a_childs_death(
    code: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.end_idle()
    monkeypatch.setattr(sandbox, "_CODE", f"import os, sys; sys.stdin.buffer.read(9); {code}")
    with pytest.raises(expected):
        decode(PNG)
    assert sandbox._idle == []


def test_a_child_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYSPOTTER_API_KEYS", "secret")
    environment = Path(f"/proc/{new_child().process.pid}/environ").read_bytes()
    assert b"secret" not in environment


def test_children_end_with_their_parent() -> None:
    code = (
        "from tests.ml.images.test_sandbox import new_child\n"
        "print(new_child().process.pid, flush=True)\nimport time; time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    status = Path(f"/proc/{child}/stat")
    until(lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_fork_has_children_of_its_own() -> None:
    code = (
        "import os\nfrom ml.images import sandbox\n"
        "from tests.ml.images.test_sandbox import new_child, PNG, decode\n"
        "child = new_child()\n"
        "if os.fork() == 0:\n"
        "    decode(PNG)\n    assert sandbox._idle != [child]\n    sandbox.end_idle()\n"
        "    os._exit(0)\n"
        "assert os.wait()[1] == 0\ndecode(PNG)\nassert sandbox._idle == [child]\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_jpeg_needs_no_child_and_none_of_pillows_decoders() -> None:
    code = (
        "import sys\nfrom ml.images.decode import decode\nfrom ml.images import sandbox\n"
        "decode(sys.stdin.buffer.read())\nassert sandbox._idle == []\n"
        "assert not {'ml.images.pillow', 'PIL.JpegImagePlugin'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=ROOT, input=encoded(picture(), "JPEG"), check=True)


def test_without_resource_limits_a_photo_is_decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.end_idle()
    monkeypatch.setattr(sandbox, "find_spec", lambda _: None)
    assert decode(PNG).info.format == "PNG"
    assert sandbox._idle == []


@pytest.mark.parametrize(
    ("kind", "million"), [("JPEG", 50), ("PNG", 50), ("TIFF", 37.5), ("AVIF", 23), ("WebP", 18.7)]
)
def test_the_pixel_limit_follows_the_memory(kind: str, million: float) -> None:
    width = int(million * 1e6) // 10_000
    check_size(width, 10_000, MAX_PIXELS, kind)
    with pytest.raises(TooManyPixels, match="million are accepted"):
        check_size(int(width * 1.01), 10_000, MAX_PIXELS, kind)


def test_a_long_side() -> None:
    check_size(30_000, 2, MAX_PIXELS, "PNG")
    with pytest.raises(TooManyPixels, match="A side may have at most 30000"):
        check_size(30_001, 2, MAX_PIXELS, "PNG")


def test_short_memory_of_the_machine_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be used again: a part of its response is still to be read."""
    new_child()

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("numpy.empty", full)
    with pytest.raises(MemoryError):
        decode(PNG)
    assert sandbox._idle == []

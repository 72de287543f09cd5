"""The hostile corpus, sent to a running service."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ml.errors import EmptyImage, ImageError, TooManyPixels, UnreadableImage, UnsupportedFormat
from ml.predictor import Predictor
from tests.app.helpers import running
from tests.corpus import Case, corpus

OUTCOMES: dict[tuple[int, str], type[ImageError] | None] = {
    (200, ""): None,
    (400, "no_image"): EmptyImage,
    (413, "too_many_pixels"): TooManyPixels,
    (415, "unsupported_format"): UnsupportedFormat,
    (422, "unreadable_image"): UnreadableImage,
}


def resident(process: subprocess.Popen[bytes]) -> int:
    """Resident memory of the process in megabytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1000


@pytest.mark.slow
def test_every_file_gets_the_expected_response_and_memory_does_not_grow(
    log: Path, photo: bytes, shipped: Predictor
) -> None:
    cases = list(corpus())
    with running("app", log=log) as (address, process), httpx.Client(timeout=60) as client:

        def mismatch(case: Case, form: bool) -> str | None:
            body = {"files": {"file": case.data}} if form else {"content": case.data}
            answer = client.post(f"{address}/predict", **body)
            found = answer.status_code, answer.json().get("code", "")
            is_expected = found in OUTCOMES and case.allows(OUTCOMES[found])
            return None if is_expected else f"{case.name}: {found}"

        memory = []
        for form in (False, True, False):
            with ThreadPoolExecutor(4) as pool:
                mismatches = list(pool.map(lambda case, form=form: mismatch(case, form), cases))
            assert [found for found in mismatches if found] == []
            memory.append(resident(process))
        # The second and third passes must not need more memory than the first.
        assert memory[-1] < memory[0] + 50
        answer = client.post(f"{address}/predict", content=photo).json()
        assert answer["probabilities"] == shipped.predict(photo).probabilities
    text = log.read_text()
    assert "Traceback" not in text
    assert "internal_error" not in text

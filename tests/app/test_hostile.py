"""The hostile corpus, sent to the service as it really runs."""

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
    """Megabytes that the process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1000


@pytest.mark.slow
def test_every_file_ends_as_it_should(log: Path, photo: bytes, shipped: Predictor) -> None:
    cases = list(corpus())
    with running("app", log=log) as (address, process), httpx.Client(timeout=60) as client:

        def fault(case: Case, form: bool) -> str | None:
            body = {"files": {"file": case.data}} if form else {"content": case.data}
            answer = client.post(f"{address}/predict", **body)
            found = answer.status_code, answer.json().get("code", "")
            right = found in OUTCOMES and case.allows(OUTCOMES[found])
            return None if right else f"{case.name}: {found}"

        grown = []
        for form in (False, True, False):
            with ThreadPoolExecutor(4) as pool:
                faults = list(pool.map(lambda case, form=form: fault(case, form), cases))
            assert [found for found in faults if found] == []
            grown.append(resident(process))
        # Once all has been met, the same again brings no more.
        assert grown[-1] < grown[0] + 50
        answer = client.post(f"{address}/predict", content=photo).json()
        assert answer["probabilities"] == shipped.predict(photo).probabilities
    said = log.read_text()
    assert "Traceback" not in said
    assert "internal_error" not in said

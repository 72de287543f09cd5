import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.errors import ImageError
from ml.images.decode import decode
from tests.corpus import samples
from tests.helpers import ROOT

SAMPLES = samples()

# In a process of its own: it may crash, its memory can be measured, and warnings are no errors.
CHECK = """
import json, resource
from ml.errors import ImageError
from ml.images.decode import decode
from tests.corpus import corpus

def outcome(data, side):
    try:
        decode(data, needed_side=side)
    except ImageError as error:
        return type(error)

cases = list(corpus())
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcomes = [(case, side, outcome(case.data, side)) for case in cases for side in (None, 16)]
wrong = [f"{case.name}: {found}" for case, side, found in outcomes if not case.allows(found)]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
print(json.dumps({"cases": len(cases), "wrong": wrong, "grown_kb": grown}))
"""


def test_every_file_ends_as_it_should_and_memory_is_bounded() -> None:
    run = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["wrong"] == []
    assert found["cases"] > 2500
    assert found["grown_kb"] < 100_000


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A sound file with some bytes changed, taken out, put in, or cut off."""
    data = bytearray(SAMPLES[draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage that it can live with
@settings(
    max_examples=500,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(mutants(), st.sampled_from([None, 8]))
def test_damaged_files_are_photos_or_refused(data: bytes, needed_side: int | None) -> None:
    try:
        photo = decode(data, needed_side=needed_side)
    except ImageError:
        return
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.ndim == 3
    assert min(photo.pixels.shape) >= 1

"""Decode and infer in a loop on all cores of one process: the upper limit for a server.

    PYTHONPATH=. python -m benchmarks.load.bare_loop SECONDS

It prints photos a second and CPU milliseconds a photo. The model and the number of threads are
those of the service's settings.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from app.settings import Settings
from benchmarks.load.photo import jpeg
from ml.predictor import Predictor


def measure(seconds: float) -> tuple[float, float]:
    """Return photos a second and CPU milliseconds a photo."""
    settings, photo = Settings.from_environment(), jpeg()
    predictor = Predictor.open(settings.model, settings.engine, settings.precision)
    predictor.predict(photo)

    def loop(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            predictor.predict(photo)
            count += 1
        return count

    with ThreadPoolExecutor(settings.threads) as pool:
        started, cpu = time.perf_counter(), time.process_time()
        done = sum(pool.map(loop, [started + seconds] * settings.threads))
        took = time.perf_counter() - started
        return done / took, (time.process_time() - cpu) * 1000 / done


if __name__ == "__main__":
    print(*measure(float(sys.argv[1])))

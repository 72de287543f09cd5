"""Send randomly damaged uploads and check every response.

    PYTHONPATH=. python benchmarks/hostile.py [--uploads 100000] [--seed 0]

It takes small valid files of each format and changes, removes, inserts or cuts off bytes. It sends
each file as a raw body, in a form, or in a form that is also damaged. Every response must be 200,
or 4xx with a code, and must arrive in time. The service must keep running, with at most 20 % more
memory than after the first tenth of the uploads. Then it sends the worst file of each kind, and
measures what each costs. The exit status is 1 if a goal is missed.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

import uvloop
from rich.console import Console
from rich.progress import Progress

from benchmarks.load.client import Connection, Response, request
from benchmarks.load.photo import as_body, as_form, jpeg
from benchmarks.load.process import Server, running
from benchmarks.load.tables import Goal, ResultTable, goal_table, machine
from tests.bombs import BOMBS
from tests.corpus import samples

CLIENTS = 8
SLOW_SECONDS = 2.0
WORST_CPU_SECONDS = 1.5
WORST_MB = 300


@dataclass
class Tally:
    """Numbers of responses by status, the longest response time, and memory use over time."""

    responses: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    memory_mb: list[float] = field(default_factory=list)

    def add(self, response: Response) -> None:
        """Count a response by its status and code."""
        body = response.json() or {}
        self.responses[f"{response.status} {body.get('code', '')}".strip()] += 1
        self.slowest = max(self.slowest, response.seconds)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change the bytes in up to four places, and sometimes cut off the end."""
    bytes_ = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(bytes_))
        bytes_[at : at + rng.randint(0, 8)] = rng.randbytes(rng.randint(0, 8))
    return bytes(bytes_[: rng.randint(0, len(bytes_))] if rng.random() < 0.3 else bytes_)


def upload(files: list[bytes], rng: random.Random) -> bytes:
    """Make a request with a damaged file, or with a damaged form around it."""
    photo = mutated(rng.choice(files), rng)
    kind = rng.random()
    if kind < 0.5:
        return request("/predict", photo, rng.choice(("image/jpeg", "text/plain")))
    form = as_form(photo)
    body = mutated(form.body, rng) if kind > 0.75 else form.body
    return request("/predict?evidence=grid", body, form.type, chunked=rng.random() < 0.2)


async def send(server: Server, uploads: int, seed: int) -> Tally:
    """Send all uploads from a few clients; each waits for its response before the next upload."""
    tally, files, left = Tally(), list(samples().values()), iter(range(uploads))
    rng = random.Random(seed)

    async def client() -> None:
        connection = await Connection.to(server.port)
        for number in left:
            if number % max(1, uploads // 20) == 0:
                tally.memory_mb.append(sum(rss for _, rss in server.memory()))
            try:
                tally.add(await asyncio.wait_for(connection.ask(upload(files, rng)), 60))
            except (ConnectionError, TimeoutError) as error:
                tally.responses[f"lost: {type(error).__name__}"] += 1
                connection.open = False
            bar.advance(task)
            if not connection.open:
                connection.transport.close()
                connection = await Connection.to(server.port)
        connection.transport.close()

    with Progress() as bar:
        task = bar.add_task("uploads", total=uploads)
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return tally


@dataclass(frozen=True)
class Cost:
    """What the worst file of a kind costs the service."""

    kind: str
    length: int
    status: int
    cpu: float  # seconds
    mb: float  # above the service's memory before, of all its processes

    @property
    def row(self) -> list[str]:
        """The row of the table."""
        sizes = f"{self.length / 1e6:.2f}", str(self.status)
        return [self.kind, *sizes, f"{self.cpu:.2f}", f"{self.mb:.0f}"]


async def worst(server: Server) -> list[Cost]:
    """Send the worst file of each kind, one after the other."""
    costs = []
    for kind, (make, _) in BOMBS.items():
        data, peak = make(), 0.0
        before, cpu = sum(rss for _, rss in server.memory()), server.cpu_ms()
        connection = await Connection.to(server.port)
        asked = connection.ask(request("/predict", data, "image/jpeg"))
        while not (await asyncio.wait([asked], timeout=0.02))[0]:
            peak = max(peak, sum(rss for _, rss in server.memory()))
        connection.transport.close()
        await asyncio.sleep(0.2)
        cost = (server.cpu_ms() - cpu) / 1000
        costs.append(Cost(kind, len(data), asked.result().status, cost, max(0.0, peak - before)))
    return costs


def main() -> None:
    """Send the uploads, print the results and check the goals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--uploads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    ours = [sys.executable, "-m", "app", "--port", "{port}"]
    with running(ours, as_body(jpeg())) as server:
        tally = uvloop.run(send(server, given.uploads, given.seed))
        costs = uvloop.run(worst(server))
        alive = server.ask(as_body(jpeg())) is not None
    total = tally.responses.total()
    bad = sum(n for kind, n in tally.responses.items() if not kind.startswith(("200", "4")))
    early, most = max(tally.memory_mb[:3]), max(tally.memory_mb)
    goals = [
        Goal("every response is 200 or 4xx", f"{total - bad} of {total}", bad == 0),
        Goal(
            f"every response within {SLOW_SECONDS:g} s",
            f"{tally.slowest:.2f} s",
            tally.slowest < SLOW_SECONDS,
        ),
        Goal(
            "constant memory: at the start, maximum",
            f"{early:.0f}, {most:.0f} MB",
            most <= 1.2 * early,
        ),
        Goal(
            f"the worst file of each kind: at most {WORST_CPU_SECONDS:g} s of CPU time",
            f"{(cpu := max(cost.cpu for cost in costs)):.2f} s",
            cpu <= WORST_CPU_SECONDS,
        ),
        Goal(
            f"the worst file of each kind: at most {WORST_MB} MB",
            f"{(mb := max(cost.mb for cost in costs)):.0f} MB",
            mb <= WORST_MB,
        ),
        Goal("the service still responds", "yes" if alive else "no", alive),
    ]
    Console().print(machine())
    rows = [[kind, str(number)] for kind, number in tally.responses.most_common()]
    ResultTable("Responses", ["status, code", "uploads"], rows).print()
    columns = ["worst file of its kind", "MB", "status", "CPU seconds", "memory, MB"]
    ResultTable("Costs", columns, [cost.row for cost in costs]).print()
    goal_table(goals).print()
    sys.exit(0 if all(goal.met for goal in goals) else 1)


if __name__ == "__main__":
    main()

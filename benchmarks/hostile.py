"""Send randomly damaged uploads and check every response.

    PYTHONPATH=. python benchmarks/hostile.py [--uploads 100000] [--seed 0]

It takes small valid files of each format, changes, removes, inserts or cuts off bytes, and sends
them as a raw body, in a form, or in a form that is damaged too. Every response must be 200, or 4xx
with a code, and must arrive in time. The service must keep running, with at most 20 % more memory
than after the first tenth of the uploads. Then it sends the worst file of each kind, and measures
what each costs. The exit status is 1 if a goal is missed.
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

from benchmarks.load.client import Answer, Connection, request
from benchmarks.load.photo import as_body, as_form, jpeg
from benchmarks.load.process import Server, running
from benchmarks.load.sheet import Goal, Sheet, goal_sheet, machine
from tests.bombs import BOMBS
from tests.corpus import samples

CLIENTS = 8
SLOW_SECONDS = 2.0
WORST_CPU_SECONDS = 1.5
WORST_MB = 300


@dataclass
class Tally:
    """Counts of the responses, and what was measured."""

    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    memory_mb: list[float] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Count a response by its status and code."""
        told = answer.json() or {}
        self.answers[f"{answer.status} {told.get('code', '')}".strip()] += 1
        self.slowest = max(self.slowest, answer.seconds)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change up to four places and sometimes cut off the rest."""
    bytes_ = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(bytes_))
        bytes_[at : at + chance.randint(0, 8)] = chance.randbytes(chance.randint(0, 8))
    return bytes(bytes_[: chance.randint(0, len(bytes_))] if chance.random() < 0.3 else bytes_)


def upload(files: list[bytes], chance: random.Random) -> bytes:
    """Make a request with a damaged file, or with a damaged form around it."""
    photo = mutated(chance.choice(files), chance)
    kind = chance.random()
    if kind < 0.5:
        return request("/predict", photo, chance.choice(("image/jpeg", "text/plain")))
    form = as_form(photo)
    body = mutated(form.body, chance) if kind > 0.75 else form.body
    return request("/predict?evidence=grid", body, form.type, chunked=chance.random() < 0.2)


async def send(server: Server, uploads: int, seed: int) -> Tally:
    """Send all uploads from a few clients; each waits for its response before the next upload."""
    tally, files, left = Tally(), list(samples().values()), iter(range(uploads))
    chance = random.Random(seed)

    async def client() -> None:
        connection = await Connection.to(server.port)
        for number in left:
            if number % max(1, uploads // 20) == 0:
                tally.memory_mb.append(sum(rss for _, rss in server.memory()))
            try:
                tally.add(await asyncio.wait_for(connection.ask(upload(files, chance)), 60))
            except (ConnectionError, TimeoutError) as error:
                tally.answers[f"lost: {type(error).__name__}"] += 1
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
    bad = sum(n for what, n in tally.answers.items() if not what.startswith(("200", "4")))
    early, most = max(tally.memory_mb[:3]), max(tally.memory_mb)
    goals = [
        Goal("every response is 200 or 4xx", f"{bad} others of {tally.answers.total()}", bad == 0),
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
    rows = [[what, str(number)] for what, number in tally.answers.most_common()]
    Sheet("Responses", ["status, code", "uploads"], rows).print()
    columns = ["worst file of its kind", "MB", "status", "CPU seconds", "memory, MB"]
    Sheet("Costs", columns, [cost.row for cost in costs]).print()
    goal_sheet(goals).print()
    sys.exit(0 if all(goal.met for goal in goals) else 1)


if __name__ == "__main__":
    main()

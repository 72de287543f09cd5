"""Compare the service with other servers that run the same network on the same photo.

    PYTHONPATH=. python benchmarks/serving.py [--rounds 3] [--seconds 4] [--only NAME ...] [--write]

`make bench` creates the other servers' environment, .venv-peers, and runs this. `wrk` must be
installed (`apt-get install wrk`); it shares the cores with the server. The photo is a generated
640 x 480 JPEG of quality 90. Each server is restarted in each round, and its predictions are
compared with the offline predictor's before it is measured. CPU time covers all processes of a
server; on a busy machine its ratios stay valid, but those of requests a second are noise. `--write`
writes benchmarks/serving.md; run it on an idle machine.
"""

import argparse
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.progress import track

from benchmarks.load.servers import CONNECTIONS, PEERS, ComparedServer, bare_loop, compared_servers
from benchmarks.load.tables import Goal, ResultTable, goal_table, machine, spread

PAGE = Path(__file__).with_suffix(".md")
STEPS = "## What each step gained"
OURS, EAGER, BARE = "skyspotter", "fastapi, eager torch", "bare loop"


def rates(one: ComparedServer) -> list[float]:
    """Requests a second at 8 connections in each round."""
    return [round.per_second for round in one.loads[CONNECTIONS[0]]]


def throughput(measured: list[ComparedServer], bare: list[tuple[float, float]]) -> ResultTable:
    """Requests a second, CPU time a request, and our speed-up over each server within a round."""
    found = {one.name: (rates(one), one.cpu_ms) for one in measured}
    found[BARE] = [rate for rate, _ in bare], [cpu for _, cpu in bare]
    ours = found.get(OURS)
    rows = []
    for name, (per_second, cpu_ms) in found.items():
        row = [name, spread(per_second), "", spread(cpu_ms, 2), ""]
        if ours:
            pairs = zip(ours[0], per_second, strict=True), zip(cpu_ms, ours[1], strict=True)
            row[2], row[4] = (spread([a / b for a, b in pair], 2) for pair in pairs)
        rows.append(row)
    title = f"Requests per second and CPU time per request, {CONNECTIONS[0]} connections"
    ratio = f"{OURS} is better by a factor of"
    return ResultTable(title, ["server", "requests/s", ratio, "CPU ms/request", ratio], rows)


def latency(measured: list[ComparedServer]) -> ResultTable:
    """Median and 99th percentile over the rounds."""
    counts = sorted(CONNECTIONS)
    header = ["server"] + [f"{count}: {which}" for count in counts for which in ("p50", "p99")]
    rows = []
    for one in measured:
        found = [one.loads[count] for count in counts]
        pairs = [([x.p50_ms for x in loads], [x.p99_ms for x in loads]) for loads in found]
        rows.append([one.name, *(spread(values, 1) for pair in pairs for values in pair)])
    return ResultTable("Latency in ms, by number of connections", header, rows)


def footprint(measured: list[ComparedServer]) -> ResultTable:
    """First response and a large photo on one core, and memory."""
    header = ["server", "first response, s", "12 megapixels, ms", "largest process, MB (PSS, RSS)",
              "all processes, MB (PSS)"]  # fmt: skip
    rows = []
    for one in measured:
        pss, rss = one.memory[0]
        large, first = spread(one.large_ms), spread(one.first_response, 2)
        total = sum(memory for memory, _ in one.memory)
        rows.append([one.name, first, large, f"{pss:.0f}, {rss:.0f}", f"{total:.0f}"])
    return ResultTable("On one core, and memory after the load", header, rows)


def check_goals(measured: list[ComparedServer], bare: list[tuple[float, float]]) -> ResultTable:
    """Compare our service with the goals; ratios are within a round."""
    of = {one.name: one for one in measured}
    ours = of[OURS]
    peers = [rates(one) for one in measured if not one.name.startswith(OURS)]
    best = [a / max(b) for a, *b in zip(rates(ours), *peers, strict=True)]
    eager = [a / b for a, b in zip(rates(ours), rates(of[EAGER]), strict=True)]
    loop = [a / b for a, (b, _) in zip(rates(ours), bare, strict=True)]
    first, large, rss = median(ours.first_response), median(ours.large_ms), ours.memory[0][1]
    return goal_table([
        Goal("3 times the fastest peer", spread(best, 2), median(best) >= 3),
        Goal("8 times FastAPI with eager torch", spread(eager, 2), median(eager) >= 8),
        Goal("85 % of the bare loop", spread([100 * x for x in loop]), median(loop) >= 0.85),
        Goal("first response within 0.5 s on one core", f"{first:.2f} s", first <= 0.5),
        Goal("12 megapixels under 25 ms on one core", f"{large:.1f} ms", large < 25),
        Goal("at most 150 MB per worker (RSS)", f"{rss:.0f} MB", rss <= 150),
    ])  # fmt: skip


def page(tables: list[ResultTable], command: str) -> str:
    """Return the results as Markdown; keep the hand-written last section of the old page."""
    names = ("fastapi", "uvicorn", "onnxruntime", "numpy")
    ours = ", ".join(f"{name} {version(name)}" for name in names)
    pinned = (Path(__file__).parent / "peers" / "requirements.txt").read_text().splitlines()
    listed = ("fastapi=", "litserve=", "bentoml=", "onnxruntime=", "torch=", "pillow=")
    theirs = ", ".join(p.replace("==", " ") for p in pinned if p.startswith(listed))
    steps = PAGE.read_text().partition(STEPS)[2] if PAGE.exists() else "\n\nNot written yet.\n"
    return (
        f"# Serving, measured\n\n    {command}\n\n{machine()}; {ours}. Peers: {theirs}. "
        "Each figure is the median of the rounds, with the minimum and the maximum.\n\n"
        + "\n\n".join(table.markdown() for table in tables)
        + f"\n\n{STEPS}{steps}"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = [one.name for one in compared_servers()]
    parser = argparse.ArgumentParser(description="Compare the service with other servers.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load in a round")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"of: {'; '.join(names)}")  # fmt: skip
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    return parser.parse_args()


def main() -> None:
    """Measure, print and optionally write the results."""
    given = arguments()
    if shutil.which("wrk") is None or not PEERS.is_dir():
        sys.exit("Install wrk (apt-get install wrk), and run `make bench` for the peers.")
    measured = [one for one in compared_servers() if one.name in given.only]
    bare = []
    for number in track(range(given.rounds), "rounds"):
        bare.append(bare_loop(given.seconds))
        # Reverse every second round, so that drift affects all servers equally.
        for one in measured[:: -1 if number % 2 else 1]:
            one.under_load(given.seconds)
            one.on_one_core()
    tables = [throughput(measured, bare), latency(measured), footprint(measured)]
    if {OURS, EAGER} <= set(given.only):
        tables.insert(0, check_goals(measured, bare))
    for table in tables:
        table.print()
    if given.write:
        options = f"--rounds {given.rounds} --seconds {given.seconds}"
        PAGE.write_text(page(tables, f"PYTHONPATH=. python benchmarks/serving.py {options}"))


if __name__ == "__main__":
    main()

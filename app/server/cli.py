"""The service with all its guards: `python -m app --port 8000 --workers 2`.

It is uvicorn, with limits on connections and requests' heads, numbers that all workers share, an
end that nobody notices, and a new model taken up by every worker on SIGHUP.
"""

import argparse
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from tempfile import TemporaryDirectory

from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE

from app import logs
from app.model_backup import FOLDER
from app.server.supervisor import IDLE_SECONDS, DrainingServer, Workers
from ml.cpus import usable_cpus

DRAIN_SECONDS = 30
"""How long requests in hand may take once the service has been told to stop."""
ALIVE_SECONDS = 20
"""Within which a worker says that it lives: one that starts on a busy machine takes seconds."""
FILES = 8192
"""How many files and connections a process may have open, where that can be had."""

log = logging.getLogger("skyspotter")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m app", description="Serve the model over HTTP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000))
    parser.add_argument(
        "--workers",
        type=int,
        default=int(os.environ.get("WEB_CONCURRENCY") or 1),
        help="processes that share the port and the CPUs; at most one a CPU",
    )
    given = parser.parse_args()
    if given.workers < 1:
        parser.error("at least one worker is needed")
    return given


def allowed(workers: int) -> int:
    """Say how many of the workers that were asked for are started: more than CPUs help nobody."""
    if workers > (cpus := usable_cpus()):
        log.warning("%s workers were asked for; %s start, one a CPU", workers, cpus)
    return min(workers, cpus)


def raise_file_limit() -> None:
    """Have as many files as there may be connections, or as many as can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Serve until told to stop by SIGTERM or Ctrl-C."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until there is a model to exchange
    given = arguments()
    logs.configure(os.environ.get("SKYSPOTTER_LOG_FORMAT") or "console")
    raise_file_limit()
    workers = allowed(given.workers)
    os.environ["WEB_CONCURRENCY"] = str(workers)  # settings.threads divides by it
    config = Config(
        "app.main:app",
        host=given.host,
        port=given.port,
        workers=workers,
        http="app.server.protocol:BoundedProtocol",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_worker_healthcheck=ALIVE_SECONDS,
    )
    if workers == 1:
        server = DrainingServer(config)
        with suppress(KeyboardInterrupt):  # raised anew once all is shut down
            server.run()
        sys.exit(0 if server.started else STARTUP_FAILURE)
    with (
        TemporaryDirectory(prefix="skyspotter-metrics-") as metrics,
        TemporaryDirectory(prefix="skyspotter-model-") as spare,
    ):
        os.environ |= {"PROMETHEUS_MULTIPROC_DIR": metrics, FOLDER: spare}
        started = Workers(config, sockets=[config.bind_socket()])
        started.run()
        if any(worker.exitcode == STARTUP_FAILURE for worker in started.processes):
            sys.exit(STARTUP_FAILURE)

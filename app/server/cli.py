"""The command line: `python -m app --port 8000 --workers 2`.

It runs uvicorn with limits on connections and headers, metrics shared by all workers, a graceful
shutdown, and a reload of the model in every worker on SIGHUP.
"""

import argparse
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from tempfile import TemporaryDirectory

from pydantic import ValidationError
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE

from app import logs
from app.model_backup import FOLDER_VARIABLE
from app.server.supervisor import KEEP_ALIVE_SECONDS, GracefulServer, Supervisor
from app.settings import PREFIX, Settings
from ml.cpus import usable_cpus

GRACEFUL_SHUTDOWN_SECONDS = 30
"""How long running requests may take after the service was told to stop."""
HEALTH_CHECK_SECONDS = 20
"""How long a worker may take to answer a health check: starting on a busy machine takes seconds."""
OPEN_FILES = 8192
"""The limit of open files and connections per process, if the system allows it."""

log = logging.getLogger("skyspotter")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "python -m app",
        description="Serve the model over HTTP.",
        epilog="Environment variables SKYSPOTTER_... set everything else: see docs/settings.md. "
        "SIGHUP reloads the model. SIGTERM and Ctrl-C finish running requests, then stop.",
    )
    # argparse converts a default that is a string, and reports an invalid one like an argument.
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT") or 8000,
        help="port to bind; 0 picks a free one (default: the variable PORT, or 8000)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.environ.get("WEB_CONCURRENCY") or 1,
        help="number of worker processes, at most one per CPU "
        "(default: the variable WEB_CONCURRENCY, or 1)",
    )
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error("--workers must be at least 1")
    return arguments


def limit_workers(workers: int) -> int:
    """Return the number of workers to start. More workers than CPUs would not be faster."""
    if workers > (cpus := usable_cpus()):
        log.warning("starting %s workers instead of %s: one per CPU", cpus, workers)
    return min(workers, cpus)


def raise_file_limit() -> None:
    """Raise the limit of open files, so that it does not limit the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_settings() -> None:
    """Exit with one line per invalid setting, before the port is open or a worker starts."""
    try:
        Settings.from_environment()
    except ValidationError as error:
        for problem in error.errors():
            name, why = str(problem["loc"][0]), problem["msg"]
            log.critical("cannot serve: setting %s (%s%s): %s", name, PREFIX, name.upper(), why)
        sys.exit(STARTUP_FAILURE)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    # SIGHUP would end the process. It stays blocked until there is a model to reload.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    arguments = parse_arguments()
    logs.configure(os.environ.get("SKYSPOTTER_LOG_FORMAT") or "console")  # check_settings may log
    raise_file_limit()
    workers = limit_workers(arguments.workers)
    os.environ["WEB_CONCURRENCY"] = str(workers)  # the default of settings.threads uses it
    check_settings()
    config = Config(
        "app.main:app",
        host=arguments.host,
        port=arguments.port,
        workers=workers,
        http="app.server.protocol:BoundedProtocol",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=HEALTH_CHECK_SECONDS,
    )
    if workers > 1:
        return run_workers(config)
    server = GracefulServer(config)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after the shutdown
        server.run()
    sys.exit(0 if server.started else STARTUP_FAILURE)


def run_workers(config: Config) -> None:
    """Serve in several processes, which share the port, the metrics and the model backup."""
    with (
        TemporaryDirectory(prefix="skyspotter-metrics-") as metrics,
        TemporaryDirectory(prefix="skyspotter-model-") as backup,
    ):
        os.environ |= {"PROMETHEUS_MULTIPROC_DIR": metrics, FOLDER_VARIABLE: backup}
        supervisor = Supervisor(config, sockets=[config.bind_socket()])
        supervisor.run()
        if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
            sys.exit(STARTUP_FAILURE)

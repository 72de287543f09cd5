"""uvicorn's server and its workers, so that nobody notices when they end or take up a new model."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from uvicorn import Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import multiprocess

from app import logs

IDLE_SECONDS = 75
"""For a connection's next request: longer than balancers keep it, or theirs would meet its end."""
NOTICE_SECONDS = 0.5
"""How long a server that is told to stop lets people in all the same: balancers learn it late."""

log = logging.getLogger("skyspotter")


class DrainingServer(Server):
    """uvicorn's server, which would reset connections that it has not yet looked at."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve. A senseless setting ends all: workers started anew would fail for ever."""
        logs.configure(os.environ.get("SKYSPOTTER_LOG_FORMAT") or "console")
        try:
            super().run(sockets)
        except Exception as error:
            is_setting = isinstance(error, ValueError) and not self.started
            log.critical("cannot serve: %s", error, exc_info=not is_setting)
            sys.exit(STARTUP_FAILURE if is_setting else 1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port. A SIGHUP that has come meanwhile is heard now that it is understood."""
        await super().startup(sockets)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer with `Connection: close` for a moment; let in who is at the door, and shut it."""
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(NOTICE_SECONDS)
        loop = asyncio.get_running_loop()
        entering = [
            loop.create_task(loop.connect_accepted_socket(self._protocol, connected))
            for server in self.servers
            for listening in server.sockets
            for connected in _waiting(listening.fileno())
        ]
        await super().shutdown(sockets)
        await asyncio.gather(*entering, return_exceptions=True)

    def _protocol(self) -> Any:
        made: Any = self.config.http_protocol_class
        return made(self.config, self.server_state, self.lifespan.state)


class Worker(multiprocess.Process):
    """One of several processes that serve."""

    @property
    def server(self) -> Server:
        """What it runs, made in its own process."""
        if self._server is None:
            self._server = DrainingServer(self.config)
        return self._server

    def start(self) -> None:
        """Start it, and leave its end of the pipe to it: so its death is seen at once."""
        super().start()
        self.child_conn.close()


multiprocess.Process = Worker  # type: ignore[misc]  # uvicorn cannot be told otherwise


class Workers(multiprocess.Multiprocess):
    """uvicorn's workers: one that dies is replaced.

    SIGHUP is blocked in this process, and so in a worker until it can take it: none is lost, and
    none kills.
    """

    def handle_signals(self) -> None:
        """Take notice of what has come."""
        if signal.sigtimedwait({signal.SIGHUP}, 0):
            self.handle_hup()
        super().handle_signals()

    def handle_hup(self) -> None:
        """Have each take up the new model, where uvicorn would start them anew."""
        for worker in self.processes:
            if worker.pid is not None:
                with suppress(ProcessLookupError):  # it died this moment
                    os.kill(worker.pid, signal.SIGHUP)

    def terminate_all(self) -> None:
        """Leave the port to the workers, and have each finish what it has in hand."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def _waiting(listening: int) -> list[socket.socket]:
    """Take those who have connected and wait to be let in."""
    found = []
    with socket.socket(fileno=os.dup(listening)) as door, suppress(BlockingIOError):
        door.setblocking(False)
        while True:
            found.append(door.accept()[0])
    return found

"""uvicorn's server and supervisor, with a shutdown and a model reload that lose no request."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Any, cast

from uvicorn import Server
from uvicorn.supervisors import multiprocess

from app import logs

KEEP_ALIVE_SECONDS = 75
"""Keep-alive timeout. It is longer than that of common load balancers, so that they close an idle
connection first and never send a request on one that this server is closing."""
STOP_DELAY_SECONDS = 0.5
"""How long the server goes on accepting connections after it was told to stop, because load
balancers notice it late."""

log = logging.getLogger("skyspotter")


class GracefulServer(Server):
    """uvicorn's server. On shutdown it also serves connections that wait to be accepted.

    uvicorn closes the listening socket at once, which resets these connections.
    """

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve. An error that ends the server is logged in the service's log format."""
        logs.configure(os.environ.get("SKYSPOTTER_LOG_FORMAT") or "console")
        try:
            super().run(sockets)
        except Exception as error:
            log.critical("the server failed: %s", error, exc_info=True)
            sys.exit(1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, then handle SIGHUP, including one that came during the startup."""
        await super().startup(sockets)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Send `Connection: close` for a moment, accept queued connections, then stop listening."""
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(STOP_DELAY_SECONDS)
        loop, protocol = asyncio.get_running_loop(), cast(Any, self.config.http_protocol_class)
        create = partial(protocol, self.config, self.server_state, self.lifespan.state)
        accepting = [
            loop.create_task(loop.connect_accepted_socket(create, connection))
            for server in self.servers
            for listener in server.sockets
            for connection in _accept_queued(listener.fileno())
        ]
        await super().shutdown(sockets)
        await asyncio.gather(*accepting, return_exceptions=True)


class Worker(multiprocess.Process):
    """One of several processes that serve."""

    @property
    def server(self) -> Server:
        """The server, created in the worker's own process."""
        if self._server is None:
            self._server = GracefulServer(self.config)
        return self._server

    def start(self) -> None:
        """Start the process and close the parent's copy of the worker's end of the pipe.

        While a copy is open, the parent does not see the pipe close when the worker dies.
        """
        super().start()
        self.child_conn.close()


# uvicorn has no setting for the worker class. An override would have to copy the three methods of
# Multiprocess that create a worker, about 40 lines, so the name they look up is replaced instead.
multiprocess.Process = Worker  # type: ignore[misc]


class Supervisor(multiprocess.Multiprocess):
    """uvicorn's supervisor: it replaces a worker that dies, and passes SIGHUP on to the workers.

    `cli.main` blocks SIGHUP, workers inherit that, and `GracefulServer.startup` unblocks it in each
    worker. So no SIGHUP is lost, and none ends a process.
    """

    def handle_signals(self) -> None:
        """Handle the signals that came since the last call."""
        if signal.sigtimedwait({signal.SIGHUP}, 0):
            self.handle_hup()
        super().handle_signals()

    def handle_hup(self) -> None:
        """Make each worker reload the model. uvicorn would restart the workers."""
        for worker in self.processes:
            if worker.pid is not None:
                with suppress(ProcessLookupError):  # it has just died
                    os.kill(worker.pid, signal.SIGHUP)

    def terminate_all(self) -> None:
        """Close the port in this process, and make each worker finish its requests and stop."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _accept_queued(listener: int) -> list[socket.socket]:
    """Accept all connections that wait in a listening socket's queue."""
    accepted = []
    with socket.socket(fileno=os.dup(listener)) as duplicate, suppress(BlockingIOError):
        duplicate.setblocking(False)
        while True:
            accepted.append(duplicate.accept()[0])
    return accepted

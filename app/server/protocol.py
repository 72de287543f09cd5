"""uvicorn's HTTP/1.1 protocol with limits on connections, header size and time.

uvicorn waits forever for a client that sends one byte at a time or does not read its response, and
it buffers headers without a limit. This protocol sets a limit for each, and for the number of
connections.
"""

import resource
from asyncio import AbstractEventLoop, Event, TimerHandle, Transport
from collections.abc import Callable
from functools import cache
from math import inf
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import BadRequest
from app.record import ID_HEADER, valid_or_new_id
from app.server.load_shedding import LoadShedder, error_bytes
from app.server.supervisor import KEEP_ALIVE_SECONDS
from app.settings import Settings

MAX_HEADER_BYTES = 65_536
MAX_PIPELINED = 100
"""Pipelined requests that may wait on one connection. Common clients do not pipeline at all."""
MAX_CONNECTIONS = 4096
"""The limit that applies is min(4096, half the open-file limit)."""
HEADER_SECONDS = 10.0
"""Timeout for the headers of the first request, and of a later one after its first byte."""
GRACE_SECONDS = 5.0
"""Added to the app's own timeout, so that the app can answer 504 before the connection closes."""
LINGER_SECONDS = 2.0
"""Timeout for the rest of a request body if the response was sent before it was complete."""
SHUTDOWN_SECONDS = 0.5
"""During shutdown, how long an idle connection stays open for a request that is on its way."""

_ID = ID_HEADER.lower().encode()
_RESPONSE_SENT: Any = SimpleNamespace(response_complete=True, message_event=Event())
"""Replaces uvicorn's RequestResponseCycle after an early rejection: the body is discarded."""
_settings = cache(Settings.from_environment)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines and limits.

    The app passes its settings and its load shedder in the lifespan state.
    """

    max_connections = min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    _idle: ClassVar[dict["BoundedProtocol", None]] = {}
    """Connections without a running request, longest idle first. They may be evicted."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the timer for the headers, and evict an idle connection if there are too many."""
        super().connection_made(transport)
        settings = self.app_state.get("settings") or _settings()  # without lifespan: no state
        self._timeout = settings.timeout_seconds + GRACE_SECONDS
        self._header_bytes = 0
        self._upgrade_request = b""  # the headers of a request that offers another protocol
        self._receiving = self._closing = False
        self._read_timer = _DeadlineTimer(self.loop, transport.abort)
        self._write_timer = _DeadlineTimer(self.loop, transport.abort)
        self._await_request(min(HEADER_SECONDS, self._timeout))
        if len(self.connections) > self.max_connections:
            next(iter(self._idle)).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse the data and limit headers and trailers. The app limits the body between them."""
        self._header_bytes += len(data)
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserError:
                return self.send_400_response("Invalid HTTP request received.")
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
        if self._header_bytes > MAX_HEADER_BYTES:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Reject malformed HTTP with the same JSON as all other errors."""
        error = BadRequest(f"{msg.rstrip('.')}. Send it with an ordinary client.")
        self.transport.write(error_bytes(error, valid_or_new_id("")))
        self._close_gracefully()

    def on_message_begin(self) -> None:
        """A request begins: start the timer for its headers."""
        super().on_message_begin()
        self._header_bytes = 0
        self._start_read_timer(HEADER_SECONDS)

    def on_headers_complete(self) -> None:
        """The headers are complete: reject the request early, or let the app answer it."""
        if self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers):
            return self._remember_without_upgrade()
        if len(self.pipeline) > MAX_PIPELINED:
            return self.transport.abort()
        self._idle.pop(self, None)
        self._receiving = True
        if self._reject_early():
            return
        self._start_read_timer(self._timeout)
        super().on_headers_complete()
        self.cycle.transport = cast(Transport, _LingeringTransport(self.transport, self._close))

    def on_body(self, body: bytes) -> None:
        """Part of the body was received. Trailers may follow, so count header bytes from zero."""
        self._header_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request was received completely."""
        if self._upgrade_request:
            return
        super().on_message_complete()
        self._receiving = False
        self._read_timer.stop()
        if self._closing:
            self._close_gracefully()
        elif self.cycle.response_complete:
            self._await_request()

    def on_response_complete(self) -> None:
        """The response was written. The next request may have been received already."""
        super().on_response_complete()
        # The read timer replaces uvicorn's keep-alive timer, which would keep closed connections
        # in memory.
        self._unset_keepalive_if_required()
        if not self.cycle.response_complete or self.transport.is_closing():
            return
        if self._receiving:  # the rest of the body is discarded, and the connection may be evicted
            self._idle[self] = None
        else:
            self._await_request()

    def pause_writing(self) -> None:
        """The client reads more slowly than the app writes: start the write timer."""
        self._write_timer.start(self._timeout)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has read enough: stop the write timer."""
        self._write_timer.stop()
        super().resume_writing()

    def shutdown(self) -> None:
        """Shut down gracefully: finish the running request, or wait briefly for one on its way."""
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        elif not self.transport.is_closing():
            self._await_last_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed: release the timers."""
        self._read_timer.cancel()
        self._write_timer.cancel()
        self._idle.pop(self, None)
        super().connection_lost(exc)

    def _reject_early(self) -> bool:
        """If the queue is full, answer 503 and discard the body. Return whether this was done.

        The app itself answers a request that waits behind another one, expects `100-continue`, or
        comes from a web page (its response needs CORS headers). It also answers if the client does
        not read its responses, and during shutdown, to send `Connection: close`.
        """
        shedder: LoadShedder | None = self.app_state.get("load_shedder")
        if shedder is None or not shedder.admission.is_full or self.parser.get_method() != b"POST":
            return False
        is_pipelined = self.cycle is not None and not self.cycle.response_complete
        needs_app = any(name in (b"origin", b"expect") for name, _ in self.headers)
        if is_pipelined or needs_app or self.flow.write_paused or self._is_shutting_down:
            return False
        route = shedder.route(httptools.parse_url(self.url).path)
        if not route:
            return False
        request_id = next((value for name, value in self.headers if name == _ID), b"")
        self.transport.write(shedder.reject(route, request_id.decode("latin-1")))
        self.cycle = _RESPONSE_SENT
        self._idle[self] = None
        if self.parser.get_http_version() == "1.0" or not self.parser.should_keep_alive():
            self._closing = True
        self._start_read_timer(LINGER_SECONDS if self._closing else self._timeout)
        return True

    @property
    def _is_shutting_down(self) -> bool:
        return (b"connection", b"close") in self.server_state.default_headers

    def _await_request(self, seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self._idle[self] = None
        if self._is_shutting_down:
            return self._await_last_request()
        self._read_timer.start(seconds)

    def _await_last_request(self) -> None:
        """Wait for a request that is on its way, unless a response is still being sent."""
        if self.transport.get_write_buffer_size():
            return self._close()
        self._start_read_timer(SHUTDOWN_SECONDS)

    def _start_read_timer(self, seconds: float) -> None:
        self._read_timer.start(min(seconds, self._timeout))

    def _remember_without_upgrade(self) -> None:
        """Keep the headers of a request that offers another protocol, without the offer."""
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        line = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        self._upgrade_request = b"%b %b HTTP/%b\r\n%b\r\n" % (*line, b"".join(fields))

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return the request without its `Upgrade` header, to parse it again as plain HTTP/1.1.

        A server may ignore `Upgrade`, but httptools stops there and does not parse the body.
        Java's HttpClient sends `Upgrade: h2c` by default, and so does `curl --http2`: without this
        their photos would be lost.
        """
        headers, self._upgrade_request = self._upgrade_request, b""
        if not headers:
            return b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return headers + rest

    def _close(self) -> None:
        """Close after the request was received. A reset before that would lose the response."""
        if self._receiving:
            self._closing = True
            self._start_read_timer(LINGER_SECONDS)
        else:
            self._close_gracefully()

    def _close_gracefully(self) -> None:
        """Close after the response was sent, or when the client does not read it in time."""
        if not self.transport.is_closing():
            self.transport.close()
            self._idle[self] = None
            self._read_timer.start(self._timeout)


class _DeadlineTimer:
    """Calls back at a deadline, unless it is stopped before.

    It is started several times per request, so starting must be cheap: a later deadline
    only changes a number. The event loop's timer then goes off early, and is set again.
    """

    def __init__(self, loop: AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop, self._callback = loop, callback
        self._handle: TimerHandle | None = None
        self._deadline = self._due = inf  # when to call back, and when the loop's timer goes off

    def start(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._deadline < self._due:
            self._schedule()

    def stop(self) -> None:
        self._deadline = inf

    def cancel(self) -> None:
        """Stop, and release the callback."""
        if self._handle is not None:
            self._handle.cancel()

    def _schedule(self) -> None:
        self.cancel()
        self._due = self._deadline
        self._handle = self._loop.call_at(self._due, self._check)

    def _check(self) -> None:
        self._due = inf
        if self._deadline <= self._loop.time():
            self._callback()
        elif self._deadline < inf:
            self._schedule()


class _LingeringTransport:
    """A transport whose `close` first waits for the end of the request."""

    def __init__(self, transport: Transport, close: Callable[[], None]) -> None:
        self._transport, self.close = transport, close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

"""HTTP/1.1 with limits on what uvicorn leaves open: how many connections, how long, how large.

uvicorn waits for ever for a head or a body that comes a byte at a time, or for a reader that does
not read, and collects headers without end. Here a connection is closed whose request has not come
in whole in time, or whose answer does not go out, and there is a bounded number of them.
"""

import resource
from asyncio import AbstractEventLoop, Event, TimerHandle, Transport
from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import BadRequest
from app.middleware.request_id import HEADER, settled
from app.server.load_shedding import DOOR, Door, answer_bytes
from app.server.supervisor import IDLE_SECONDS
from app.settings import Settings

MAX_HEAD_BYTES = 65_536
MAX_PIPELINED = 100
"""Requests that wait behind another on their connection; no usual client sends a second."""
MAX_CONNECTIONS = 4096
"""Or half of the files that the process may open, where that is less."""
HEAD_SECONDS = 10.0
"""For the first head to come, or for one that has begun."""
GRACE_SECONDS = 5.0
"""Beyond the service's own deadline, which answers 504 where a whole head has come."""
LINGER_SECONDS = 2.0
"""For the rest of a body that nobody wants any more."""
GOODBYE_SECONDS = 0.5
"""For a request that may be on its way when the service stops."""

_ID = HEADER.lower().encode()
_ANSWERED: Any = SimpleNamespace(response_complete=True, message_event=Event())
"""In the place of a request that is answered already: of its body nothing is kept."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with deadlines and limits."""

    seconds = Settings.from_environment().timeout_seconds + GRACE_SECONDS
    most = min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    _idle: ClassVar[dict["BoundedProtocol", None]] = {}
    """Those that no request is worked on for, longest first: they may go where all is full."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the clock: who connects must send something. Where all is full, one must go."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._offered = b""  # the head of a request that offers another protocol
        self._receiving = self._closing = False
        self._reading = _Clock(self.loop, transport.abort)
        self._writing = _Clock(self.loop, transport.abort)
        self._await_head(min(HEAD_SECONDS, self.seconds))
        if len(self.connections) > self.most:
            next(iter(self._idle)).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Count what a head takes, and trailers; the body between them is the app's to limit."""
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserError:
                return self.send_400_response("Invalid HTTP request received.")
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_offer(data[upgrade.args[0] :])
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape that all errors have."""
        error = BadRequest(f"{msg.rstrip('.')}. Send it with an ordinary client.")
        self.transport.write(answer_bytes(error, settled("")))
        self._hang_up()

    def on_message_begin(self) -> None:
        """A request begins: its head, and the clock."""
        super().on_message_begin()
        self._head_bytes = 0
        self._start_reading(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """The head has come: now the body has its time, and the app begins."""
        if self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers):
            fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
            line = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
            self._offered = b"%b %b HTTP/%b\r\n%b\r\n" % (*line, b"".join(fields))
            return
        if len(self.pipeline) > MAX_PIPELINED:
            return self.transport.abort()
        self._idle.pop(self, None)
        self._receiving = True
        if route := self._refused_route():
            return self._refuse(route)
        self._start_reading(self.seconds)
        super().on_headers_complete()
        self.cycle.transport = cast(Transport, _Lingering(self.transport, self._close))

    def on_body(self, body: bytes) -> None:
        """A part of the body has come; what comes after its last part is counted again."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request has come."""
        if self._offered:
            return
        super().on_message_complete()
        self._receiving = False
        self._reading.stop()
        if self._closing:
            self._hang_up()
        elif self.cycle.response_complete:
            self._await_head()

    def on_response_complete(self) -> None:
        """The whole answer is on its way. Another request may be there already."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # ours is as long, and lets go of who has gone
        closes = self.transport.is_closing()
        if self.cycle.response_complete and not self._receiving and not closes:
            self._await_head()

    def pause_writing(self) -> None:
        """The answer does not go out as fast as it comes: start the clock."""
        self._writing.start(self.seconds)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It goes on."""
        self._writing.stop()
        super().resume_writing()

    def shutdown(self) -> None:
        """The service stops: answer what is in hand, and what may be on its way."""
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        elif not self.transport.is_closing():
            self._say_goodbye()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._reading.end()
        self._writing.end()
        self._idle.pop(self, None)
        super().connection_lost(exc)

    def _refused_route(self) -> str:
        """The route for a photo that has no place there, where the app is not needed to say so.

        It is for what waits behind another request, does not read its answers, asks before it
        sends, or comes from a page; and for all while the service stops, and says so.
        """
        door: Door | None = self.app_state.get(DOOR)
        if door is None or not door.shut or self.parser.get_method() != b"POST":
            return ""
        busy = self.cycle is not None and not self.cycle.response_complete
        asks = any(name in (b"origin", b"expect") for name, _ in self.headers)
        if busy or asks or self.flow.write_paused or self._stops:
            return ""
        return door.route(httptools.parse_url(self.url).path)

    def _refuse(self, route: str) -> None:
        given_id = next((value for name, value in self.headers if name == _ID), b"")
        answer = self.app_state[DOOR].refuse(route, given_id.decode("latin-1"))
        self.transport.write(answer)
        self.cycle = _ANSWERED
        self._idle[self] = None
        if self.parser.get_http_version() == "1.0" or not self.parser.should_keep_alive():
            self._closing = True
        self._start_reading(LINGER_SECONDS if self._closing else self.seconds)

    @property
    def _stops(self) -> bool:
        return (b"connection", b"close") in self.server_state.default_headers

    def _await_head(self, seconds: float = IDLE_SECONDS) -> None:
        self._idle[self] = None
        if self._stops:
            return self._say_goodbye()
        self._reading.start(seconds)

    def _say_goodbye(self) -> None:
        """Wait for a request on its way, but not for one behind an answer that still goes out."""
        if self.transport.get_write_buffer_size():
            return self._close()
        self._start_reading(GOODBYE_SECONDS)

    def _start_reading(self, seconds: float) -> None:
        self._reading.start(min(seconds, self.seconds))

    def _without_offer(self, rest: bytes) -> bytes:
        """Begin anew with a request that offers another protocol (h2c, websocket), offer left out.

        The parser would leave its body to that protocol. curl and Java offer h2c by themselves.
        """
        head, self._offered = self._offered, b""
        if not head:
            return b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return head + rest

    def _close(self) -> None:
        """Close once the request has come in: a reset would take the answer with it."""
        if self._receiving:
            self._closing = True
            self._start_reading(LINGER_SECONDS)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close, once the end of the answer is out; nobody is waited for as long as he likes."""
        if not self.transport.is_closing():
            self.transport.close()
            self._idle[self] = None
            self._reading.start(self.seconds)


class _Clock:
    """Rings unless it is stopped in time.

    Started for each part of each request, it mostly moves its hand alone: a timer that goes off
    too early is set anew then, and only one that would go off too late at once.
    """

    def __init__(self, loop: AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._timer: TimerHandle | None = None
        self._deadline = self._due = inf  # when to ring, and when the timer goes off

    def start(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._deadline < self._due:
            self._set()

    def stop(self) -> None:
        self._deadline = inf

    def end(self) -> None:
        """Stop, and let go of whom it would ring for."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self) -> None:
        self.end()
        self._due = self._deadline
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._due = inf
        if self._deadline <= self._loop.time():
            self._ring()
        elif self._deadline < inf:
            self._set()


class _Lingering:
    """A transport that is closed in another way."""

    def __init__(self, transport: Transport, close: Callable[[], None]) -> None:
        self._transport, self.close = transport, close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

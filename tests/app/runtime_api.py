"""A local AWS Lambda: its Runtime API on loopback, and the runtime client that polls it.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from tests.helpers import ROOT

MAX_BYTES = 6_291_556
"""The limit for an event and for a response, from Lambda's error messages."""

Event = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The outcome of an event."""

    kind: str
    """`response`, `error` (the handler raised), or `init/error` (it could not be imported)."""
    body: Any


class TooLarge(Exception):
    """Lambda rejects the event before it reaches the function."""


class RuntimeApi(ThreadingHTTPServer):
    """Sends events to the runtime client, one at a time, and receives the results."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.events: Queue[bytes | None] = Queue()
        self.results: Queue[Result] = Queue()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the broken connection of a runtime client that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def invoke(self, event: Event) -> Any:
        """Return the function's response to an event.

        Raises:
            TooLarge: if Lambda would reject the event.
        """
        result = self.result(event)
        assert result.kind == "response", result
        return result.body

    def result(self, event: Event) -> Result:
        """Return the outcome of an event, which may be an error."""
        sent = json.dumps(event).encode()
        if len(sent) > MAX_BYTES:
            raise TooLarge
        self.events.put(sent)
        return self.results.get(timeout=60)


class _Request(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # else the body of an event waits 40 ms for the ACK of its headers
    )

    def do_GET(self) -> None:  # .../runtime/invocation/next
        event = self.server.events.get()
        if event is None:  # the runtime client was killed
            self.close_connection = True
            return
        arn = "arn:aws:lambda:eu-west-1:123456789012:function:skyspotter"
        self._answer(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": "8f507cfc-xmpl-4697-b07a-ac58fc914c95",
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 30) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": arn,
                "Content-Type": "application/json",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
            },
        )

    def do_POST(
        self,
    ) -> None:  # .../invocation/ID/response, .../invocation/ID/error, .../init/error
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.removeprefix("/2018-06-01/runtime/")
        if kind.startswith("invocation/"):
            kind = kind.rpartition("/")[2]
        if len(body) > MAX_BYTES:
            kind, status = "Function.ResponseSizeTooLarge", 413
        else:
            status = 202
        self._answer(status, b"{}", {})
        self.server.results.put(Result(kind, json.loads(body)))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def lambda_function(
    log: Path,
    handler: str = "app.handler.handler",
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    python: str = sys.executable,
) -> Iterator[RuntimeApi]:
    """Run a handler as Lambda does: with AWS' runtime client and a clean environment."""
    with RuntimeApi() as api:
        Thread(target=api.serve_forever, daemon=True).start()
        lambdas = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "AWS_LAMBDA_FUNCTION_NAME": "skyspotter",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
            "LAMBDA_TASK_ROOT": str(ROOT),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*wrapper, python, "-m", "awslambdaric", handler],
                cwd=ROOT,
                env=lambdas | dict(environment or {}),
                stdout=output,
                stderr=output,
            )
        try:
            yield api
        finally:
            process.kill()
            process.wait()
            api.events.put(None)
            api.shutdown()

"""The service on a Ray cluster: `serve run app.cluster:service`, or `serve deploy` with a file.

Each replica is the whole app with a model of its own; Ray's proxies hand requests to them. What
Ray cannot hand on, as a replica or its node has died, is answered by `Unanswered`, in the shape
that all errors have: set RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=app.cluster:middleware where
the nodes are started.
"""

import asyncio
import math
import os
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import NotReady
from app.main import create_app
from app.middleware.request_id import HEADER, RequestId, request_id
from app.settings import PREFIX, Settings
from app.state import Service


def replica_app() -> FastAPI:
    """Build a replica's app: as many threads as it has been given CPUs, unless it is told."""
    context: Any = ray.get_runtime_context()
    cpus = context.get_assigned_resources().get("CPU", 1)
    threads = str(max(1, math.ceil(cpus)))
    return create_app(Settings.from_environment({f"{PREFIX}THREADS": threads} | os.environ))


@serve.ingress(replica_app)
class Skyspotter:
    """A replica."""

    app: FastAPI
    served: Path | None = None

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Serve the model that the configuration names; photos in hand end with the old one.

        Ray calls this before a replica's first request, and replica by replica on each change.

        Raises:
            ModelError: where there is no such model.
        """
        parts: Service = self.app.state.service
        model = Path(config.get("model") or parts.settings.model)
        # The app's start has begun to load its own model: wait for that, it may be the one.
        await asyncio.to_thread(parts.inference.load)
        ready = parts.inference.health().status == "ok"
        if not ready or model != (self.served or parts.settings.model):
            await asyncio.to_thread(parts.inference.exchange, model)
        self.served = model

    def check_health(self) -> None:
        """Have Ray replace a replica that cannot predict.

        Raises:
            NotReady
        """
        self.app.state.service.inference.ready()


class Unanswered:
    """Middleware of Ray's proxies: what no replica has answered is `not_ready`, try again."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer where nobody does."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = refused = False

        async def watch(message: Message) -> None:
            nonlocal started, refused
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                kind = headers.get("content-type", "")
                refused = message["status"] in _RAYS_OWN and kind != "application/json"
                if HEADER in headers:
                    headers[HEADER] = headers[HEADER]  # once: Ray adds the same again
            if not refused:
                await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            if refused or not started:
                await RequestId(_not_ready)(scope, receive, send)


_RAYS_OWN = (408, 429, 500, 503)  # as plain text; the app's own are JSON


async def _not_ready(scope: Scope, receive: Receive, send: Send) -> None:
    body = {"detail": "No replica answered. Try again in a moment.", "code": NotReady.code}
    body["request_id"] = request_id(scope)
    await JSONResponse(body, NotReady.status, NotReady.headers)(scope, receive, send)


def middleware() -> list[Middleware]:
    """List what Ray's proxies put around the service."""
    return [Middleware(Unanswered)]


deployment = serve.deployment(user_config={})(Skyspotter)  # all else: deploy/ray/serve.yaml
service = deployment.bind()

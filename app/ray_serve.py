"""The service on a Ray cluster: `serve run app.cluster:service`, or `serve deploy` with a file.

Each replica is the whole app with its own model, and Ray's proxies forward requests to the
replicas. If a replica or its node dies, `UnansweredMiddleware` answers in the usual error format.
To install it, start the nodes with
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=app.cluster:middleware.
"""

import asyncio
import math
import os
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import NotReady, error_body
from app.main import create_app
from app.record import ID_HEADER, valid_or_new_id
from app.settings import PREFIX, Settings
from app.state import Service

_RAY_STATUSES = (408, 429, 500, 503)
"""Ray's own errors have one of these, as plain text; the errors of the app are JSON."""


def replica_app() -> FastAPI:
    """Build the app of a replica, with a thread for each of its CPUs unless the variable is set."""
    context: Any = ray.get_runtime_context()
    cpus = context.get_assigned_resources().get("CPU", 1)
    threads = str(max(1, math.ceil(cpus)))
    return create_app(Settings.from_environment({f"{PREFIX}THREADS": threads} | os.environ))


@serve.ingress(replica_app)
class Skyspotter:
    """A replica."""

    app: FastAPI
    current_model: Path | None = None

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Serve the model in the configuration. Photos in progress finish with the current one.

        Ray calls this before the first request to a replica, and again on each change, one
        replica at a time.

        Raises:
            ModelError: if the model file is missing, damaged or not a Skyspotter model.
        """
        service: Service = self.app.state.service
        default = service.settings.model
        model = Path(config.get("model") or default)
        # Wait for the default model, which the app loads when it starts: it may be the right one.
        await asyncio.to_thread(service.inference.load)
        is_ready = service.inference.health().status == "ok"
        if not is_ready or model != (self.current_model or default):
            await asyncio.to_thread(service.inference.switch_to, model)
        self.current_model = model

    def check_health(self) -> None:
        """Raise NotReady without a model, which makes Ray replace the replica."""
        self.app.state.service.inference.predictor()


class UnansweredMiddleware:
    """Middleware of Ray's proxies: answer `not_ready` if no replica has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and replace Ray's own errors."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        is_started = is_rays_error = False

        async def filter_response(message: Message) -> None:
            nonlocal is_started, is_rays_error
            if message["type"] == "http.response.start":
                is_started = True
                headers = MutableHeaders(scope=message)
                is_json = headers.get("content-type") == "application/json"
                is_rays_error = message["status"] in _RAY_STATUSES and not is_json
                if ID_HEADER in headers:
                    headers[ID_HEADER] = headers[ID_HEADER]  # remove the duplicate that Ray adds
            if not is_rays_error:
                await send(message)

        try:
            await self.app(scope, receive, filter_response)
        finally:
            if is_rays_error or not is_started:
                error = NotReady("No replica answered. Try again in a moment.")
                own_id = valid_or_new_id(Headers(scope=scope).get(ID_HEADER, ""))
                added = {ID_HEADER: own_id, **error.headers}
                response = JSONResponse(error_body(error, own_id), error.status, added)
                await response(scope, receive, send)


def middleware() -> list[Middleware]:
    """Return the middleware for Ray's proxies."""
    return [Middleware(UnansweredMiddleware)]


deployment = serve.deployment(user_config={})(Skyspotter)  # other options: deploy/ray/serve.yaml
service = deployment.bind()

"""The service as an ASGI app, for `python -m app` or `uvicorn app.main:app`.

Only `python -m app` limits connections and headers, and sheds load.
"""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app import logs
from app.error_handlers import add_error_handlers
from app.inference import Inference
from app.middleware import RequestMiddleware
from app.record import ID_HEADER
from app.routes import operations, pages, predict
from app.server.load_shedding import LoadShedder
from app.settings import Settings
from app.state import Service
from ml import __version__


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the app. Without settings, read them from the environment."""
    settings = settings or Settings.from_environment()
    logs.configure(settings.log_format)
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, LoadShedder | Settings]]:
        _reload_on_sighup(service.inference)
        # The port opens at once: /health reports `starting` until the model is loaded.
        loading = asyncio.create_task(asyncio.to_thread(service.inference.load))
        if multiprocessing.parent_process():  # with several workers, open the port after loading
            await loading
        shedder = LoadShedder(service.admission, service.metrics, settings.root_path)
        yield {"load_shedder": shedder, "settings": settings}  # the server's protocol reads these
        await loading

    app = FastAPI(
        title="Skyspotter",
        version=__version__,
        description="Classifies flying objects in photos of the sky. Send one to `POST /predict`.",
        lifespan=lifespan,
        redirect_slashes=False,  # redirects would ignore ROOT_PATH
        docs_url=None,  # FastAPI's page needs the internet; see app/routes/pages.py
        redoc_url=None,
    )
    app.root_path = settings.root_path  # Lambda has no server that could set it
    app.state.service = service
    add_error_handlers(app)
    _add_middleware(app, service)
    app.include_router(predict.router)
    app.include_router(operations.router)
    app.include_router(pages.router)
    return app


def _add_middleware(app: FastAPI, service: Service) -> None:
    """Add middleware from the inside out: the last one added is the first to see a request."""
    if origins := service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", ID_HEADER],
            expose_headers=[ID_HEADER, "Retry-After"],
        )
    app.add_middleware(RequestMiddleware, metrics=service.metrics)


def _reload_on_sighup(inference: Inference) -> None:
    """Reload the model on SIGHUP; Python handles signals only in the main thread."""
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, loop.run_in_executor, None, inference.reload)


app = create_app()

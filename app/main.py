"""The service as an ASGI app: `uvicorn app.main:app`, or `python -m app` with all its guards."""

import asyncio
import gc
import multiprocessing
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app import logs
from app.errors import handle_errors
from app.inference import Inference
from app.middleware.access_log import Observe
from app.middleware.request_id import HEADER, RequestId
from app.middleware.security_headers import SecurityHeaders
from app.routes import operations, pages, predict
from app.server.load_shedding import LoadShedder
from app.settings import Settings
from app.state import Service
from ml import __version__

DESCRIPTION = "Tells what flies on a photo of the sky. Try `POST /predict` with a photo."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the app; settings come from the environment unless given."""
    settings = settings or Settings.from_environment()
    logs.configure(settings.log_format)
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, LoadShedder | Settings]]:
        _reload_on_hangup(service.inference)
        # The port answers at once: probes see `starting` until the model is there.
        loading = asyncio.create_task(asyncio.to_thread(_load, service.inference))
        if multiprocessing.parent_process():  # one of several workers: the others answer meanwhile
            await loading
        shedder = LoadShedder(service.admission, service.metrics, settings.root_path)
        yield {"load_shedder": shedder, "settings": settings}
        await loading

    app = FastAPI(
        title="Skyspotter",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # it knows nothing of ROOT_PATH
        docs_url=None,  # FastAPI's loads from the internet; app/routes/pages.py
        redoc_url=None,
    )
    app.root_path = settings.root_path  # for Lambda, where no server can be told of it
    app.state.service = service
    handle_errors(app)
    _add_middleware(app, service)
    app.include_router(predict.router)
    app.include_router(operations.router)
    app.include_router(pages.router)
    return app


def _add_middleware(app: FastAPI, service: Service) -> None:
    """From the inside out: what is added last sees a request first."""
    if origins := service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", HEADER],
            expose_headers=[HEADER, "Retry-After"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observe, metrics=service.metrics)
    app.add_middleware(RequestId)


def _load(inference: Inference) -> None:
    inference.load()
    # What is there by now stays. To search it for garbage took a sixth of the time under overload.
    gc.freeze()


def _reload_on_hangup(inference: Inference) -> None:
    """Take up a new model file on SIGHUP, where signals can be had: in the main thread."""
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, loop.run_in_executor, None, inference.reload)


app = create_app()

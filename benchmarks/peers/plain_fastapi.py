"""A plain FastAPI route: uvicorn benchmarks.peers.plain_fastapi:app --workers N."""

from typing import Annotated

from fastapi import FastAPI, File

from benchmarks.peers.photo import Model, read

app = FastAPI()
model = Model()


@app.post("/predict")
def predict(file: Annotated[bytes, File()]) -> dict[str, object]:
    """Not async, so that FastAPI uses a thread and the event loop stays free."""
    return model.predict(read(file))

"""FastAPI with eager PyTorch: uvicorn benchmarks.peers.eager_fastapi:app --workers N."""

from typing import Annotated

import torch
from fastapi import FastAPI, File

from benchmarks.peers.photo import answer, read
from ml.model import DEVIATION, MEAN
from ml.models.checkpoint import SHIPPED_PARAMETERS, load

torch.set_num_threads(1)
app = FastAPI()
network, card = load(SHIPPED_PARAMETERS)
network.eval()
mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)


@app.post("/predict")
def predict(file: Annotated[bytes, File()]) -> dict[str, object]:
    """Run the network without gradients, as in most tutorials."""
    with torch.inference_mode():
        pixels = torch.from_numpy(read(file).copy()).float() / 255
        logits = network(((pixels - mean) / deviation).permute(0, 3, 1, 2)).logits
    return answer(logits[0].numpy(), list(card.classes), card.temperature)

"""Shared code of the other servers: decode with Pillow, run the network, make the response."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
WORKERS = int(os.environ["PEER_WORKERS"])
"""One worker for each CPU, with one thread each."""

Pixels = npt.NDArray[np.uint8]


def read(data: bytes | Image.Image, shorter_side: int = 256, size: int = 224) -> Pixels:
    """Decode, apply the EXIF orientation, crop and resize: (1, size, size, 3), RGB.

    Cropping before resizing gives the input that the model's card describes, and is faster.
    """
    image = Image.open(BytesIO(data)) if isinstance(data, bytes) else data
    image = ImageOps.exif_transpose(image).convert("RGB")
    side = size * min(image.size) / shorter_side
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))[None]


class Model:
    """The shipped float32 model on ONNX Runtime."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(ROOT / "weights" / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        card = self.session.get_modelmeta().custom_metadata_map
        self.classes: list[str] = json.loads(card["classes"])
        self.temperature: float = json.loads(card["temperature"])

    def predict(self, pixels: Pixels) -> dict[str, object]:
        """Run the network and return label and probabilities."""
        logits = self.session.run(["logits"], {"image": pixels})[0][0]
        return answer(logits, self.classes, self.temperature)


def answer(
    logits: npt.NDArray[np.float32], classes: list[str], temperature: float
) -> dict[str, object]:
    """Convert one photo's logits to label and probabilities."""
    scaled = logits.astype(float) / temperature
    exponentials = np.exp(scaled - scaled.max())
    chances = (exponentials / exponentials.sum()).tolist()
    label = classes[int(np.argmax(chances))]
    return {"label": label, "probabilities": dict(zip(classes, chances, strict=True))}

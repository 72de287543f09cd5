"""LitServe: python -m benchmarks.peers.lit PORT."""

import sys
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.photo import WORKERS, Model, Pixels, read


class Api(litserve.LitAPI):  # type: ignore[misc]
    """The four steps in LitServe's documentation."""

    def setup(self, device: str) -> None:
        """Load the model once in each worker."""
        self.network = Model()

    def decode_request(self, request: Request) -> Pixels:
        """Decode the uploaded file."""
        file: Any = request["file"]
        return read(file.file.read())

    def predict(self, x: Pixels) -> dict[str, object]:
        """Run the network."""
        return self.network.predict(x)

    def encode_response(self, output: dict[str, object]) -> dict[str, object]:
        """Return the output, which is already JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(api_path="/predict"), accelerator="cpu", workers_per_device=WORKERS
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )

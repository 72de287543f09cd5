"""BentoML: bentoml serve benchmarks.peers.bento:Classifier --port PORT."""

import bentoml
from PIL.Image import Image

from benchmarks.peers.photo import WORKERS, Model, read


@bentoml.service(workers=WORKERS, traffic={"timeout": 30})
class Classifier:
    """A service that takes the photo as a Pillow image, as in the documentation."""

    def __init__(self) -> None:
        self.network = Model()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, file: Image) -> dict[str, object]:
        """Run the network."""
        return self.network.predict(read(file))

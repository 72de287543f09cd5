"""The only module that imports torchvision, with a workaround.

torchvision's wheels on the public index are built for CUDA. With a CPU build of torch their
compiled operators do not load, and the import fails with `operator torchvision::nms does not
exist`, because it registers shapes for two operators without a schema. Defining the schemas
first, as torchvision's C++ source does, solves this. Skyspotter calls neither operator.
"""

from collections.abc import Callable

import torch

try:
    import torchvision
except RuntimeError:
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    define: Callable[[str], None] = _library.define
    define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.transforms import v2 as transforms

__all__ = ["MobileNet_V2_Weights", "mobilenet_v2", "torchvision", "transforms"]

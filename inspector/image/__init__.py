"""Pictures in, tensors out: the one `open_image` and the one `Preprocess` of the project.

Training, inspection and audit all go through here, so a picture is never prepared in two ways.
"""

from inspector.files import Readable
from inspector.guard import SUFFIXES
from inspector.image.back import MapsBack
from inspector.image.open import (
    FORMATS,
    Box,
    ImageSource,
    choose_evenly,
    digest_image,
    find_images,
    open_image,
    read_if_open,
    read_limited,
    read_picture,
)
from inspector.image.preprocess import (
    FILTERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    NAMED,
    ColorOrder,
    DType,
    Layout,
    Preprocess,
    Resize,
)

__all__ = [
    "FILTERS",
    "FORMATS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NAMED",
    "SUFFIXES",
    "Box",
    "ColorOrder",
    "DType",
    "ImageSource",
    "Layout",
    "MapsBack",
    "Preprocess",
    "Readable",
    "Resize",
    "choose_evenly",
    "digest_image",
    "find_images",
    "open_image",
    "read_if_open",
    "read_limited",
    "read_picture",
]

"""Between pictures and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from inspector.image import ImageSource, open_image
from inspector.model import Model

if TYPE_CHECKING:
    from PIL.Image import Image


def to_image(picture: Tensor) -> Image:
    """uint8 (C, H, W) as an RGB picture; one channel is shown grey."""
    from PIL import Image as images

    array = picture.permute(1, 2, 0).contiguous().cpu().numpy()
    return images.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).convert("RGB")


def start_picture(model: Model, source: ImageSource, size: tuple[int, int]) -> Tensor:
    """A picture as the network sees it, at another size (H, W): float32 (1, C, H, W) in [0, 1]."""
    view = model.preprocess.view(open_image(source))
    if view.size != (size[1], size[0]):
        view = view.resize((size[1], size[0]))
    pixels = torch.from_numpy(np.array(view, np.float32) / 255)
    return pixels.reshape(1, *pixels.shape[:2], -1).permute(0, 3, 1, 2).contiguous()

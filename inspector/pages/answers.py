"""The pictures that show what a detector, a segmenter or an image-to-image network answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as images

from inspector.errors import ModelError
from inspector.files import output_folder
from inspector.image import digest_image
from inspector.image.open import ImageSource, open_image
from inspector.model import Model
from inspector.pages.folder import note_maps, remove_answers
from inspector.provenance import Provenance
from inspector.render.objects import Mark, draw_indices, draw_objects, draw_segments, to_picture
from inspector.render.png import save_png
from inspector.tasks.answers import Detections, Segmentation


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """The objects that a detector found on a picture, and the files that show them.

    Args:
        boxes: The objects.
        labels: The name of each.
        drawing: The picture with all of them.
        size: Width and height of `drawing` in pixels.
        masks: The file of each object's mask; None without one.
    """

    boxes: Detections
    labels: tuple[str, ...]
    drawing: Path
    size: tuple[int, int]
    masks: tuple[Path | None, ...]

    @property
    def words(self) -> str:
        """What the drawing shows."""
        count = len(self.boxes)
        return f"{count} object{'' if count == 1 else 's'}" if count else "Nothing found"


@dataclass(frozen=True, eq=False)
class FoundSegments:
    """The classes of a segmenter's pixels on a picture, and the files that show them.

    Args:
        shares: Class, its name, and its share of the picture in [0, 1], the largest first.
        mask: The class of each pixel, an indexed PNG of the picture's size.
        drawing: The picture with the classes over it, and a legend below.
        size: Width and height of `drawing` in pixels.
    """

    shares: tuple[tuple[int, str, float], ...]
    mask: Path
    drawing: Path
    size: tuple[int, int]

    @property
    def words(self) -> str:
        """What the drawing shows."""
        count = len(self.shares)
        return f"The class of each pixel: {count} class{'' if count == 1 else 'es'}"


# Wide: an answer, and the run that it is read off.
def draw_answers(
    model: Model,
    image: ImageSource,
    folder: Path,
    outputs: Mapping[str, NDArray[Any]],
    sides: tuple[int, int],
    size: tuple[int, int],
) -> tuple[FoundObjects | None, FoundSegments | None]:
    """Draw what a detector or a segmenter answers about a picture into its folder.

    Args:
        model: The model.
        image: What `open_image` takes.
        folder: Where to.
        outputs: What a run gave; nothing where there is no answer to draw.
        sides: (H, W) of the network's input.
        size: (width, height) of the picture.

    Returns:
        The objects and the segments; None for what the model does not give, or where its head cannot tell, which is
        warned of.
    """
    if not outputs:
        return None, None
    place = AnswerFolder(model, image, folder)
    try:
        if model.task == "segment":
            labelled = model.read_segments(outputs, size)
            mask, drawing = place.draw_segments(labelled, labelled.shares, True)
            assert drawing is not None
            named = tuple((index, model.label(index), share) for index, share in labelled.shares)
            return None, FoundSegments(named, mask, drawing, _measure(drawing))
        found = model.read_objects(outputs, sides, size)
    except ModelError as error:
        # A head that fails is no reason to withhold the layers before it.
        model.warn(f"no {'segments' if model.task == 'segment' else 'boxes'}: {error.message}")
        return None, None
    drawing, masks = place.draw_objects(found)
    return FoundObjects(found, tuple(model.label(x.index) for x in found), drawing, _measure(drawing), masks), None


def _measure(path: Path) -> tuple[int, int]:
    with images.open(path) as drawn:
        return drawn.size


@dataclass(frozen=True)
class AnswerFolder:
    """The folder that the answers about one picture are drawn into.

    Args:
        model: The model.
        image: What `open_image` takes.
        folder: Where to.
    """

    model: Model
    image: ImageSource
    folder: Path

    def draw_objects(self, found: Detections) -> tuple[Path, tuple[Path | None, ...]]:
        """Write the picture with its objects, and a mask of each that has one.

        Returns:
            The drawing, and the file of each object's mask, an indexed PNG of 0 and 1; None without one.
        """
        marks = [
            Mark(self.model.label(x.index), x.score, x.index, x.box, x.corners, x.keypoints, x.mask) for x in found
        ]
        self._clear()
        drawing = self._save(draw_objects(open_image(self.image), marks), "found.png", "objects")
        masks = tuple(
            None if x.mask is None else self._save(draw_indices(x.mask.astype(np.int32)), f"mask-{at}.png", "mask")
            for at, x in enumerate(found)
        )
        return drawing, masks

    def draw_segments(
        self, found: Segmentation, shares: Sequence[tuple[int, float]], drawn: bool
    ) -> tuple[Path, Path | None]:
        """Write the class of each pixel as an indexed PNG and, where it is `drawn`, over the picture."""
        self._clear()
        mask = self._save(draw_indices(found.classes), "mask.png", "segments")
        if not drawn:
            return mask, None
        named = [(index, self.model.label(index), share) for index, share in shares]
        return mask, self._save(draw_segments(open_image(self.image), found.classes, named), "found.png", "segments")

    def draw_output(self, values: NDArray[np.float32]) -> Path:
        """Write the picture that a network made."""
        self._clear()
        picture, (low, high) = to_picture(values)
        return self._save(picture, "output.png", "output", black=low, white=high)

    def _clear(self) -> None:
        """Take away what an earlier run left here."""
        remove_answers(output_folder(self.folder))

    def _save(self, picture: images.Image, name: str, method: str, **settings: float) -> Path:
        made_by = Provenance(self.model.sha256, digest_image(self.image), method=method, settings=settings)
        path = save_png(picture, self.folder / name, made_by.png_info(), level=6)
        note_maps(self.folder, [path])
        return path

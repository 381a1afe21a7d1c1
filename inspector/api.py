"""The public face: what `import inspector` offers, made of the packages below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import inspector.model as models

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inspector.cam import CamResult
    from inspector.image import ImageSource


class Model(models.Model):
    """An opened .onnx file, with the questions that other packages answer. Made by :func:`open_model`."""

    def cam(self, image: ImageSource | NDArray[Any], **options: Any) -> list[CamResult]:
        """Class activation maps of one picture; see :func:`inspector.cam.class_activation_maps`."""
        from inspector.cam import class_activation_maps

        return class_activation_maps(self, image, **options)


def open_model(
    path: str | PathLike[str],
    *,
    provider: str = "auto",
    threads: int | None = None,
    metadata: bool = True,
    allow_links: Sequence[str | PathLike[str]] = (),
    warn: Callable[[str], None] | None = None,
) -> Model:
    """Open an .onnx file from any exporter. No session is made before something is run.

    Args:
        path: The file.
        provider: auto, cpu, cuda, ...; auto takes an accelerator where there is one.
        threads: Threads for onnxruntime, 1 to 1024; None takes all cores that this process may use.
        metadata: False ignores the metadata document that the file carries.
        allow_links: Folders that links to external data may lead into, as caches of models lay them.
        warn: Gets a line where something is noteworthy but not wrong.

    Returns:
        The opened model.

    Raises:
        ModelError: It is not a model, damaged, unsafe, or does not take one picture.
        MetadataError: The metadata document in the file cannot be read.
        UsageError: The number of threads is out of range.
    """
    return models.open_model(
        path, provider=provider, threads=threads, metadata=metadata, allow_links=allow_links, warn=warn, cls=Model
    )

"""What a pickle or a copy of a model stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import ModelError

if TYPE_CHECKING:
    from inspector.model.model import Model


def open_again(cls: type[Model], path: Path, resolved: Path, digest: str, options: Mapping[str, Any]) -> Model:
    """Open the file of a model again.

    Args:
        cls: The class of the model.
        path: The file, as it was given.
        resolved: Where it was then.
        digest: Its digest then.
        options: What it was opened with.

    Raises:
        ModelError: The file is not there, or has changed since.
    """
    from inspector.model import open_model

    # A relative path means another file where the working folder has changed.
    opened = open_model(path if path.resolve() == resolved else resolved, cls=cls, **options)
    if opened.digest != digest:
        raise ModelError(
            f"{opened.path} has changed since the model was copied: its SHA-256 is {opened.digest[:12]}..., "
            f"it was {digest[:12]}...",
            "open the file again with open_model",
        )
    return opened

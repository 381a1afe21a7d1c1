"""The state of a run in one safetensors file: tensors, and the rest as JSON in its header, so both are one write."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporters.sources.needs import torch
from inspector.errors import InspectorError, MissingExtra
from inspector.extras import install_command
from inspector.files import atomic_path, write_text

_KEY = "inspector"


class CheckpointError(InspectorError):
    """A checkpoint that is missing or damaged."""

    kind = "checkpoint"


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all; its JSON is written beside it too, for people.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_path(path) as temporary:
        text = json.dumps(document, sort_keys=True)
        whole = {k: v.detach().contiguous() for k, v in tensors.items()}
        try:
            import_safetensors().save_file(whole, temporary, {_KEY: text})
        except Exception as error:  # its own class, with the number of the system's error in the text
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
    write_text(path.with_suffix(".json"), json.dumps(document, indent=1, sort_keys=True) + "\n")


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors by name, the document).

    Raises:
        CheckpointError: There is none, or it cannot be read.
        MissingExtra: Safetensors is not installed.
    """
    import_safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            document = json.loads((file.metadata() or {})[_KEY])
            return {name: file.get_tensor(name) for name in file.keys()}, document  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}", "give a run folder of `inspector finetune`") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a whole checkpoint: {error}", "start the run again in a new folder"
        ) from None


def import_safetensors() -> Any:
    """The module `safetensors.torch`.

    Raises:
        MissingExtra: Safetensors is not installed.
    """
    try:
        import safetensors.torch
    except ImportError:
        raise MissingExtra("checkpoints need safetensors", install_command("torch")) from None
    return safetensors.torch

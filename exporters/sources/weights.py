"""Weights from a file: safetensors, or a state dict that torch loads with `weights_only=True`. Never anything else."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporters.sources.needs import nn, torch
from inspector.errors import InspectorError, MissingExtra, listing
from inspector.extras import install_command

State = dict[str, torch.Tensor]

_NESTED = ("state_dict", "model_state_dict", "state_dict_ema", "model_ema", "model", "net", "weights")
"""Keys under which training scripts keep the state dict, in the order they are tried."""

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every key."""


class WeightsError(InspectorError):
    """A file of weights that cannot be read, is not safe to read, or does not fit the network."""

    kind = "weights"


def read_state(path: str | os.PathLike[str]) -> State:
    """The tensors of a file of weights by their name, on the CPU.

    Raises:
        WeightsError: Missing, damaged, holds more than tensors (a pickle is never executed), holds no tensors.
    """
    given = Path(path)
    if not given.exists():
        raise WeightsError(f"there is no file {given}", "give a .safetensors file or a saved state dict")
    if not given.is_file():
        raise WeightsError(f"{given} is not a file", "give a .safetensors file or a saved state dict")
    try:
        with given.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"{given} cannot be read: {error.strerror or error}") from None
    document = _read_safetensors(given) if _is_safetensors(given, head) else _read_torch(given)
    return _tensors(document, given)


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Copy `state` into `module`; every key must be there with its shape, if need be behind a wrapper's prefix.

    Args:
        module: What the weights are loaded into.
        state: Tensors by name.
        origin: What the state was read from, for the error.

    Raises:
        WeightsError: Listing the first few missing, unexpected and misshapen keys; the module is then unchanged.
    """
    own = module.state_dict()
    state = _unprefixed(state, own)
    # Checkpoints from before torch 0.4.1 lack this counter, which evaluation does not read.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    misshapen = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    problems = [
        f"{len(keys)} {word} ({listing(keys)})"
        for word, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if problems:
        hint = "give the weights of this very architecture"
        if len(misshapen) <= 2 and misshapen and not missing and not unexpected:
            hint = "the head differs: give labels with as many names as the weights have classes"
        raise WeightsError(f"{origin} does not fit {type(module).__name__}: {'; '.join(problems)}", hint)
    module.load_state_dict(dict(state), strict=False)


def record_file(path: str | os.PathLike[str]) -> dict[str, str]:
    """What may be said of a file in a model: its bare name and its digest, never where it lay."""
    with Path(path).open("rb") as file:
        return {"file": Path(path).name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _is_safetensors(path: Path, head: bytes) -> bool:
    """By name, or by content: eight bytes of length, then a JSON object."""
    return path.suffix.lower() == ".safetensors" or (len(head) == 9 and head[8:] == b"{" and head[7] == 0)


def _read_safetensors(path: Path) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtra(f"{path} needs safetensors", install_command("torch")) from error
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}", "download or save it again") from None


def _read_torch(path: Path) -> object:
    import pickle

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise WeightsError(
                f"{path} holds more than weights, and loading it could run code; it was not loaded",
                "save it as safetensors, or as torch.save(model.state_dict(), ...)",
            ) from None
        raise WeightsError(
            f"{path} is not a file of weights", "give a .safetensors file or a saved state dict"
        ) from None
    except Exception as error:  # torch raises RuntimeError, EOFError, ValueError, KeyError ... on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} is not a file of weights: {reason}", "give a .safetensors file or a saved state dict"
        ) from None


def _tensors(document: object, path: Path) -> State:
    for _ in range(3):
        if not isinstance(document, Mapping):
            break
        tensors = {str(key): value for key, value in document.items() if isinstance(value, torch.Tensor)}
        if tensors and len(tensors) == len(document):
            return tensors
        nested: Any = next((document[key] for key in _NESTED if isinstance(document.get(key), Mapping)), None)
        if nested is None:
            if tensors:
                return tensors
            break
        document = nested
    raise WeightsError(f"{path} holds no tensors by name", "save it as torch.save(model.state_dict(), ...)")


def _unprefixed(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """`state` without the prefixes that all its keys share and the network's own keys do not."""
    for _ in _PREFIXES:
        prefix = next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), None)
        if prefix is None or all(key.startswith(prefix) for key in own):
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state

"""onnxruntime for browsers, as it lies in this package: written by ``docs/scripts/browser.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True)
class BrowserRuntime:
    """What a page needs to run a network.

    Attributes:
        version: Of the npm package onnxruntime-web.
        files: ``ort.mjs``, the script, and ``ort.wasm``, its WebAssembly, each compressed by gzip.
        digests: SHA-256 of each of them once it is unpacked, as hex digits.
        licence: The text that every copy has to carry.
    """

    version: str
    files: Mapping[str, bytes]
    digests: Mapping[str, str]
    licence: str


@lru_cache(maxsize=1)
def read_runtime() -> BrowserRuntime:
    """Read the files of the package."""
    folder = resources.files(__package__) / "runtime"
    record = json.loads((folder / "runtime.json").read_text("utf-8"))
    return BrowserRuntime(
        version=record["version"],
        files={name: (folder / f"{name}.gz").read_bytes() for name in record["files"]},
        digests={name: entry["sha256"] for name, entry in record["files"].items()},
        licence=(folder / "LICENSE").read_text("utf-8"),
    )

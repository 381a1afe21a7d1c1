"""Which distribution `import onnxruntime` comes from: a dozen share that name and overwrite each other's files."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from inspector.records import record

KNOWN = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-rocm",
    "onnxruntime-migraphx", "onnxruntime-qnn", "onnxruntime-vitisai", "onnxruntime-cann", "onnxruntime-training",
    "onnxruntime-training-cpu", "onnxruntime-silicon", "ort-nightly", "ort-nightly-gpu", "ort-nightly-directml",
    "ort-migraphx-nightly",
)  # fmt: skip
"""Distributions that bring the package. Asking for each is quick; reading what all distributions hold is not."""


@record
class RuntimePackage:
    """The package that `import onnxruntime` gives.

    Attributes:
        name: The distribution that its files are of.
        version: As these files say.
        folder: Where they are.
    """

    name: str
    version: str
    folder: Path


def find_imported() -> RuntimePackage | None:
    """Find out whose files `import onnxruntime` would read, without importing it; None where there are none.

    Each build writes its name into the package. The metadata of the distributions tell what was installed, and not
    which of them came last.
    """
    spec = find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    try:
        text = (folder / "capi" / "build_and_package_info.py").read_text("utf-8", "replace")
    except OSError:  # a build from sources, or half of a package
        text = ""
    told = dict(re.findall(r"^(package_name|__version__) *= *['\"](.*?)['\"]", text, re.M))
    name = told.get("package_name", "onnxruntime")
    return RuntimePackage(name, told.get("__version__") or _find_version(name) or "of unknown version", folder)


def find_runtimes() -> list[str]:
    """Find the installed distributions that provide onnxruntime; more than one overwrite each other's files."""
    found = [name for name in KNOWN if _find_version(name) is not None]
    imported = find_imported()
    # A build of somebody's own, under a name of its own.
    if imported is not None and imported.name not in found and _find_version(imported.name) is not None:
        found.append(imported.name)
    return found


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

"""Which distribution `import onnxruntime` comes from: a dozen share that name and overwrite each other's files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from inspector.records import record

KNOWN = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-rocm",
    "onnxruntime-migraphx", "onnxruntime-qnn", "onnxruntime-vitisai", "onnxruntime-cann", "onnxruntime-training",
    "onnxruntime-training-cpu", "onnxruntime-silicon", "ort-nightly", "ort-nightly-gpu", "ort-nightly-directml",
    "ort-migraphx-nightly",
)  # fmt: skip
"""Distributions that bring the package. Their names are quick to read; what all distributions hold is not."""

_METADATA = re.compile(r"([^-]+)(?:-([^-]+))?(?:-.*)?\.(?:dist|egg)-info", re.DOTALL)


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
    return RuntimePackage(
        name, told.get("__version__") or _list_versions([name]).get(name, "of unknown version"), folder
    )


def find_runtimes() -> list[str]:
    """Find the installed distributions that provide onnxruntime; more than one overwrite each other's files."""
    imported = find_imported()
    versions = _list_versions({*KNOWN, imported.name} if imported is not None else KNOWN)
    found = [name for name in KNOWN if name in versions]
    # A build of somebody's own, under a name of its own.
    if imported is not None and imported.name not in found and imported.name in versions:
        found.append(imported.name)
    return found


def _list_versions(names: Collection[str]) -> dict[str, str]:
    """The versions of those of `names`, in small letters with hyphens, that are installed; as folders of metadata say.

    importlib.metadata tells the same, but imports readers of mails and archives for it.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                parts = _METADATA.fullmatch(entry.name)
                name = re.sub("[-_.]+", "-", parts[1]).lower() if parts is not None else ""
                # As for an import, the first folder counts. What pip left of one that is gone may be an empty folder.
                if parts is not None and name in names and name not in found:
                    file = _find_metadata(Path(entry.path))
                    if file is not None:
                        found[name] = parts[2] or _read_version(file)
    return found


def _find_metadata(path: Path) -> Path | None:
    """The file that describes a distribution: in the folder of its metadata, or, of old ones, in its place."""
    return next((file for file in (path / "METADATA", path / "PKG-INFO", path) if file.is_file()), None)


def _read_version(file: Path) -> str:
    found = re.search(r"^Version: *(\S+)", file.read_text("utf-8", "replace"), re.M)
    return found[1] if found is not None else "of unknown version"

"""Fetches uPlot, which draws the charts of `inspector live`, and lays it into the package.

Usage: python docs/scripts/uplot.py

It needs npm and its registry. Version and digests stand here; tests/serving/test_access.py compares the files in the
package with them, so that nothing else is served. Licence: MIT, beside the files.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.6.32"
INTEGRITY = "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="
"""Of the package, as the registry has it."""

PAGE = Path(__file__).resolve().parents[2] / "inspector" / "serving" / "page"
FILES = {
    "package/dist/uPlot.iife.min.js": (
        "uPlot.iife.min.js",
        "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    ),
    "package/dist/uPlot.min.css": ("uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    "package/LICENSE": ("uPlot.LICENSE", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
}
"""Member of the package -> (file here, its SHA-256)."""


def main() -> None:
    """Fetch, compare, lay down."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is needed")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", f"uplot@{VERSION}", "--silent"], cwd=folder, check=True)
        [archive] = Path(folder).glob("*.tgz")
        digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            raise SystemExit(f"uPlot {VERSION} has the digest {digest}, and should have {INTEGRITY}")
        with tarfile.open(archive) as members:
            for name, (file, expected) in FILES.items():
                stream = members.extractfile(name)
                assert stream is not None
                data = stream.read()
                found = hashlib.sha256(data).hexdigest()
                if found != expected:
                    raise SystemExit(f"{name} has the digest {found}, and should have {expected}")
                (PAGE / file).write_bytes(data)


if __name__ == "__main__":
    main()

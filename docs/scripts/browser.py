"""Writes inspector/pages/live/runtime: onnxruntime for browsers, as the page of `inspector report --live` holds it.

Usage: python docs/scripts/browser.py [VERSION]

Fetches the package onnxruntime-web from npm (needs npm and a network; the commands themselves need neither), checks its
digest, and keeps the two files that a page needs, compressed as browsers can unpack them. The licence and the notices
of third parties are those of the onnxruntime that is installed here, which is built from the same source.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import distribution
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "inspector" / "pages" / "live" / "runtime"
PACKAGE = "onnxruntime-web"
FILES = {"ort.mjs": "dist/ort.wasm.bundle.min.mjs", "ort.wasm": "dist/ort-wasm-simd-threaded.wasm"}
"""What a page needs, and where it lies in the package: the build for WebAssembly alone, which is the smallest."""


def fetch(version: str, folder: Path) -> tuple[Path, str]:
    """The package's archive and its digest, which npm has to confirm, and so does our own record of that version."""
    done = subprocess.run(
        ["npm", "pack", "--json", f"{PACKAGE}@{version}"], cwd=folder, capture_output=True, text=True, check=True
    )
    [packed] = json.loads(done.stdout)
    archive = folder / Path(packed["filename"]).name
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    record = FOLDER / "runtime.json"
    known = json.loads(record.read_text("utf-8")) if record.exists() else {}
    if digest != packed["integrity"] or (known.get("version") == version and known.get("integrity") != digest):
        raise SystemExit(f"the digest of {archive.name} is {digest}, which is not the one on record")
    return archive, digest


def compress(data: bytes) -> bytes:
    """The same bytes at any time and on any machine."""
    return gzip.compress(data, 9, mtime=0)


def main() -> None:
    """Write the files and their record."""
    version = sys.argv[1] if len(sys.argv) > 1 else json.loads((FOLDER / "runtime.json").read_text("utf-8"))["version"]
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        archive, integrity = fetch(version, Path(folder))
        with tarfile.open(archive) as package:
            for name, inside in FILES.items():
                member = package.extractfile(f"package/{inside}")
                assert member is not None, inside
                data = member.read()
                packed = compress(data)
                (FOLDER / f"{name}.gz").write_bytes(packed)
                files[name] = {
                    "from": inside,
                    "bytes": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "packed_bytes": len(packed),
                    "packed_sha256": hashlib.sha256(packed).hexdigest(),
                }
    here = Path(str(distribution("onnxruntime").locate_file("onnxruntime")))
    (FOLDER / "LICENSE").write_bytes((here / "LICENSE").read_bytes())
    (FOLDER / "ThirdPartyNotices.txt.gz").write_bytes(compress((here / "ThirdPartyNotices.txt").read_bytes()))
    record = {"package": PACKAGE, "version": version, "licence": "MIT", "integrity": integrity, "files": files}
    (FOLDER / "runtime.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    print(f"{PACKAGE} {version}: " + ", ".join(f"{k} {v['packed_bytes']} bytes" for k, v in files.items()))


if __name__ == "__main__":
    main()

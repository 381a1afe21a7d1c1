"""What lies in the package is what was fetched: nobody edits a runtime by hand."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib import resources

from inspector.pages.live.vendor import read_runtime


def test_the_files_are_those_on_record() -> None:
    folder = resources.files("inspector.pages.live") / "runtime"
    record = json.loads((folder / "runtime.json").read_text("utf-8"))
    runtime = read_runtime()
    assert runtime.version == record["version"]
    assert record["integrity"].startswith("sha512-")
    for name, entry in record["files"].items():
        packed = runtime.files[name]
        assert (len(packed), hashlib.sha256(packed).hexdigest()) == (entry["packed_bytes"], entry["packed_sha256"])
        data = gzip.decompress(packed)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert runtime.digests[name] == entry["sha256"]
    assert gzip.decompress(runtime.files["ort.wasm"])[:4] == b"\0asm"


def test_the_licence_travels_with_it() -> None:
    assert read_runtime().licence.startswith("MIT License\n\nCopyright (c) Microsoft Corporation")
    notices = (resources.files("inspector.pages.live") / "runtime" / "ThirdPartyNotices.txt.gz").read_bytes()
    assert b"protobuf" in gzip.decompress(notices)

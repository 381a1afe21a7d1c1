"""Pictures at addresses of fsspec, and the lines that say why there are none."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import MissingExtra
from inspector.model import Model
from inspector.scanning import ScanError, ScanOptions, scan_pictures
from inspector.scanning.sources import list_pictures
from tests.conftest import require
from tests.scanning.conftest import read_results


@pytest.fixture
def memory(pictures: Path) -> Iterator[Any]:
    """A file system in memory with the green pictures in `set/green`, and with a list of them."""
    system = require("fsspec").filesystem("memory")
    files = sorted((pictures / "green").iterdir())
    for path in files:
        system.pipe_file(f"/set/green/{path.name}", path.read_bytes())
    system.pipe_file("/list.csv", "\n".join(["path,label", *(f"set/green/{x.name},green" for x in files)]).encode())
    yield system
    system.rm("/", recursive=True)


def test_pictures_at_addresses_are_scanned_as_files(model: Model, memory: Any, pictures: Path, tmp_path: Path) -> None:
    made = scan_pictures(model, ["memory://set"], tmp_path / "out", ScanOptions(engine="plain", top=1))
    files = sorted((pictures / "green").iterdir())
    assert (made.pictures, list(made.plan.labels)) == (len(files), ["green"])
    table = require("pyarrow.parquet").read_table(tmp_path / "out" / "pictures.parquet", columns=["sha256"])
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:32] for path in files]
    assert table.column("sha256").to_pylist() == digests
    listed = [(x.name, x.label) for x in list_pictures(["memory://list.csv"])]
    assert listed == [(f"memory://set/green/{path.name}", "green") for path in files]


def test_what_cannot_be_reached_is_one_line(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(address: str) -> str:
        with pytest.raises((ScanError, MissingExtra)) as told:
            list(list_pictures([address]))
        return str(told.value)

    assert say("memory://nothing") == (
        "there is nothing at memory://nothing, or it cannot be reached; "
        "check the address, the network and your rights there"
    )
    assert say("foo://a/b").startswith("foo://a/b is no kind of address that fsspec knows; known are s3://, ")
    known = require("fsspec.registry").known_implementations
    monkeypatch.setitem(known, "zz", {"class": "no_such_package.Files", "err": "Install zzfs to access ZZ"})
    assert say("zz://a/b") == "zz addresses need a package that is not installed: zz://a/b; Install zzfs to access ZZ"
    memory.pipe_file("/set.zip", b"no zip")
    assert say("memory://set.zip").startswith("memory://set.zip cannot be read as a zip file: File is not a zip file")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(memory), "isdir", refuse)
    assert say("memory://set").startswith("memory://set cannot be read: Access Denied; check the address, the network")


@pytest.mark.slow
def test_a_web_server_is_read_and_archives_need_one_that_gives_parts(
    model: Model, pictures: Path, tmp_path: Path
) -> None:
    require("aiohttp")
    (pictures.parent / "set.zip").write_bytes(b"no zip")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pictures.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/{pictures.name}"
        made = scan_pictures(model, [address], tmp_path / "web", ScanOptions(engine="plain", top=4))
        assert (made.pictures, len(made.skipped)) == (40, 1)
        with pytest.raises(ScanError, match=r"set\.zip cannot be read"):
            list(list_pictures([address + ".zip"]))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_a_bucket_is_read(
    model: Model, pictures: Path, scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        _, port = server.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "none")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        system = require("fsspec").filesystem("s3")
        system.mkdir("bucket")
        system.put(str(pictures), "bucket/set", recursive=True)
        # Two workers, processes of their own, find the bucket as this one does.
        made = scan_pictures(model, ["s3://bucket/set"], tmp_path / "out", ScanOptions(workers=2, shard_size=21, top=4))
        assert (made.pictures, len(made.skipped)) == (40, 1)
        assert (
            read_results(tmp_path / "out")["patches/first-0000.jpg"] == read_results(scanned)["patches/first-0000.jpg"]
        )
        with pytest.raises(ScanError, match="there is nothing at s3://no-bucket/set, or it cannot be reached; check"):
            list(list_pictures(["s3://no-bucket/set"]))
    finally:
        server.stop()

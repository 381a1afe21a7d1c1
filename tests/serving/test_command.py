"""`inspector live` as a program: its one document, its lines, its signals and its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.errors import MissingExtra, UsageError
from inspector.model import Model
from inspector.serving.live import _listen
from inspector.serving.messages import read_message
from tests.conftest import ROOT, require, take_signals
from tests.test_cli import call

require("uvicorn")
require("av")


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "inspector", "live", *map(str, arguments), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=take_signals if os.name == "posix" else None,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def get(address: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20)


def test_once_is_one_document_and_the_end(
    net: Model, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(
        capsys, "live", net.path, "--source", video, "--once", "--port", "0", "--json", "--record", tmp_path / "kept",
        "--uncertain", "1",
    )  # fmt: skip
    assert code == 0, err
    document = json.loads(out)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", document["address"])
    assert document["source"].endswith("video.mkv")
    assert document["token"] is False
    assert document["model"]["sha256"] == net.sha256
    assert "12 frames in" in err
    assert "0 left out, 1 kept" in err
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_ends_it_while_somebody_watches(net: Model, video: Path, number: signal.Signals) -> None:
    with started(net.path, "--source", video, "--port", "0", "--json", "--host", "0.0.0.0", "--quiet") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        document = json.loads(process.stdout.readline())
        told = process.stderr.readline()
        [token] = re.findall(r"open http://\S+/\?token=([\w-]{43})$", told)
        assert token not in json.dumps(document)
        assert document["token"] is True
        port = re.findall(r":(\d+)/", document["address"])[0]
        address = f"http://127.0.0.1:{port}/"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(address)
        page = get(f"{address}?token={token}")
        cookie = page.headers["set-cookie"].partition(";")[0]
        stream = get(f"{address}watch?map=best&layer=c2", cookie=cookie)
        data = stream.read(60_000)
        head, _ = read_message(data)
        assert {part["kind"] for part in head["parts"]} <= {"picture", "map", "layer"}
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert out == ""
    assert err == "inspector: interrupted\n"


def test_what_is_wrong_is_one_line(
    net: Model, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*arguments: str | Path) -> str:
        code, out, err = call(capsys, "live", net.path, *arguments)
        assert (code, out) == (2, "")
        lines = [line for line in err.splitlines() if "does not say everything" not in line]
        assert len(lines) == 1, err
        return lines[0]

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is in use; give another with --port" in told(
            "--source", video, "--port", port
        )
    assert "is no address of this machine" in told("--source", video, "--host", "no such host")
    assert "there is no /dev/video" in told("--source", "camera:99")
    assert "a token has at least 8" in told("--source", video, "--token", "short")
    assert "is less than 1" in told("--source", video, "--record", tmp_path / "x", "--record-limit", "0.5")
    assert "lies in the folder that is watched" in told("--source", ROOT / "docs", "--record", ROOT / "docs" / "kept")
    assert "no frames are kept; --record DIR keeps them" in told("--source", video, "--uncertain", "0.4")
    assert "has no end, so that once" in told("--source", "rtsp://127.0.0.1:1/x", "--once")
    with monkeypatch.context() as without:
        without.setattr(
            "inspector.serving.live.socket.socket", lambda *_: (_ for _ in ()).throw(OSError(97, "no IPv6"))
        )
        assert "'::1' is no address of this machine" in told("--source", video, "--host", "::1", "--port", "0")
    monkeypatch.setitem(sys.modules, "av", None)
    assert "PyAV, which is not installed; pip install" in told("--source", video)
    assert "[live]" in told("--source", video)


def test_an_address_may_stand_in_brackets() -> None:
    with _listen("[127.0.0.1]", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_the_call_says_what_it_did(net: Model, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = inspector.live(net, str(video), once=True, port=0)
    assert (done.frames, done.dropped, done.kept) == (12, 0, 0)
    assert done.seconds > 0
    with pytest.raises(UsageError, match="port 70000 is out of range"):
        inspector.live(net, str(video), port=70000)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtra, match="needs uvicorn"):
        inspector.live(net, str(video))

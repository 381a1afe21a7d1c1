"""Every way to end is clean: closed and full streams, signals, pipes without a writer, what a killed run left."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inspector import files, leftovers
from inspector.cli.app import run as run_here
from inspector.errors import ImageError, OutputError
from inspector.files import temporary_folder, write_bytes
from inspector.image import open_image
from tests.conftest import DEFAULT_MODEL as MODEL
from tests.conftest import PHOTO, ROOT, take_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX streams and signals")
LINE = "Egyptian cat 79.6 %, tabby 8.5 %, tiger cat 8.2 %"
FULL = "inspector: stdout cannot be written: the disk is full; free some space or choose another disk\n"
CLOSED = "inspector: stdout cannot be written: it is closed\n"


def shell(line: str, **environment: str) -> tuple[int, str, str]:
    """A line of bash in which $I is the inspector, $M the model and $P the photograph: (exit code, stdout, stderr)."""
    variables = {"I": f"{sys.executable} -m inspector", "M": str(MODEL), "P": str(PHOTO), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, env={**os.environ, **variables, **environment}, timeout=60
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("$I predict $M $P --json > /dev/full", 2, "", FULL),
        ("$I predict $M $P > /dev/full", 2, "", FULL),
        ("PYTHONUNBUFFERED=1 $I predict $M $P $P --json > /dev/full", 2, "", FULL),
        ("$I predict nothing.onnx $P --json > /dev/full", 2, "", FULL),
        ("$I predict --help > /dev/full", 2, "", FULL),
        ("$I predict $M $P >&-", 2, "", CLOSED),
        ("$I predict $M $P <&- 2>&-", 0, LINE, ""),
        ("$I predict $M $P nothing.jpg 2> /dev/full", 0, LINE, ""),
        ("$I predict $M $P <&- >&- 2>&-", 2, "", ""),
        ("set -o pipefail; $I predict $M $P --json | true", 0, "", ""),
        (
            "$I predict $M - <&-", 2, "",
            "inspector: stdin cannot be read: Bad file descriptor; give a picture to it, or a path\n",
        ),
    ],
)  # fmt: skip
def test_streams_that_are_full_or_closed(line: str, code: int, out: str, err: str) -> None:
    found = shell(line)
    assert (found[0], found[2]) == (code, err)
    assert (out in found[1]) if out else found[1] == ""


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"PYTHONIOENCODING": "latin-1"}, "\\u732b.jpg"),
        ({"PYTHONIOENCODING": "ascii"}, "\\u732b.jpg"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "\\udce7\\udc8c\\udcab.jpg"),
        ({"LC_ALL": "C"}, "猫.jpg"),
    ],
)
def test_a_name_that_the_pipe_has_no_bytes_for_is_escaped(
    tmp_path: Path, variables: dict[str, str], shown: str
) -> None:
    for name in ("猫.jpg", "z.jpg"):
        (tmp_path / name).write_bytes(PHOTO.read_bytes())
    code, out, err = shell(f"cd '{tmp_path}'; $I predict $M .", **variables)
    lines = out.encode("latin-1").decode("utf-8").splitlines()
    assert (code, err) == (0, "")
    assert sorted(lines) == sorted([f"{shown}: {LINE}", f"z.jpg: {LINE}"])


def test_a_reader_that_leaves_does_not_change_the_verdict(tmp_path: Path) -> None:
    from inspector.auditing import find_checks

    policy = tmp_path / "policy.toml"
    policy.write_text("[checks]\n" + "\n".join(f"{id}.on = false" for id in find_checks()))
    # Nothing was checked: 1.
    code, _, err = shell(f"set -o pipefail; $I audit $M --policy '{policy}' | true")
    assert (code, "Traceback" in err) == (1, False)


# The command is one that makes a file and a folder and waits in between.
WORK = """
import sys, time
from inspector.cli import app
from inspector.files import atomic_path, temporary_folder
def work():
    with temporary_folder() as folder, atomic_path(sys.argv[1]) as part:
        (folder / "held").write_bytes(b"x")
        print("ready", flush=True)
        time.sleep(60)
app.run = lambda given: app.run_guarded(work, False)
app.main([])
"""


def work(tmp_path: Path, *first: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir(exist_ok=True)
    command = [*first, sys.executable, "-c", WORK, str(tmp_path / "made.txt")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, preexec_fn=take_signals
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def left(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in tmp_path.rglob("*") if p != tmp_path / "tmp")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_signals_put_everything_in_order(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = work(tmp_path)
    assert len(left(tmp_path)) == 3
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (code, b"inspector: interrupted\n")
    assert left(tmp_path) == []


def test_a_signal_while_modules_load(tmp_path: Path) -> None:
    """Data classes are made by exec: Python itself ended `python -m` by SIGINT where the signal came in there."""
    inside = "import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)"
    lines = WORK.split("def work():")[0] + f"app.run = lambda given: app.run_guarded(lambda: exec({inside!r}), False)"
    (tmp_path / "loads.py").write_text(f"{lines}\napp.main([])\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-m", "loads"]
    done = subprocess.run(command, capture_output=True, env=environment, preexec_fn=take_signals, timeout=30)
    assert (done.returncode, done.stderr) == (143, b"inspector: interrupted\n")


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    process = work(tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143


def test_the_next_run_sweeps_what_a_killed_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = work(tmp_path)
    alive = work(tmp_path)
    process.kill()
    process.communicate()
    others = [".inspector-00000000-1-00000000.part", ".0123456789abcdef.part.txt", ".inspector-x.part", "a.part"]
    for name in others:
        (tmp_path / name).touch()
    monkeypatch.setattr(leftovers, "_swept", set())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    write_bytes(tmp_path / "next.txt", b"")
    with temporary_folder():
        pass
    mine = {name for name in left(tmp_path) if f"-{alive.pid}-" in name}
    assert len(mine) == 2
    assert set(left(tmp_path)) == mine | {"held", "next.txt", *others}
    # Of another machine nobody can tell but by its age.
    os.utime(tmp_path / others[0], (0, 0))
    monkeypatch.setattr(leftovers, "_swept", set())
    write_bytes(tmp_path / "next.txt", b"")
    assert not (tmp_path / others[0]).exists()
    alive.terminate()
    alive.communicate(timeout=20)
    assert set(left(tmp_path)) == {"next.txt", *others[1:]}


def test_a_place_without_room_for_a_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(OutputError) as caught, temporary_folder():
        pass
    assert str(caught.value) == (
        f"cannot make a folder in {tmp_path / 'file'}: a part of the path is a file, not a folder; choose another path"
    )


def test_pipes_without_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "PIPE_WAIT", 0.1)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    idle = f"inspector: {pipe} is a pipe that nobody writes to; start what writes to it first\n"
    for arguments, text in (
        (("layers", pipe), f"inspector: {pipe} is a pipe, not a file; write the model to a file first\n"),
        (("predict", MODEL, pipe), idle),
        (("predict", MODEL, tmp_path), None),
    ):
        assert run_here([*map(str, arguments)]) == 2
        err = capsys.readouterr().err
        assert err == text if text else "is a pipe that nobody writes to" in err
    for arguments in (["annotate", MODEL, "-o", tmp_path / "x.onnx", "--labels", pipe],
                      ["annotate", MODEL, "-o", tmp_path / "x.onnx", "--preprocess", pipe],
                      ["audit", MODEL, "--policy", pipe], ["audit", MODEL, "--against", pipe],
                      ["report", MODEL, PHOTO, "--audit", pipe, "-o", tmp_path / "x.html"]):  # fmt: skip
        assert run_here([*map(str, arguments)]) == 2
        option = next(str(x) for x, y in itertools.pairwise(arguments) if y == pipe)
        assert (
            capsys.readouterr().err
            == f"inspector: {pipe} is a pipe, not a file; write it to a file first, for {option}\n"
        )
    labels = f"<(for i in {{1..1000}}; do echo c$i; done) -o {tmp_path}/x.onnx"
    assert shell(f"$I annotate $M --labels {labels}")[0] == 0
    with pytest.raises(ImageError, match="is a pipe that nobody writes to; start what writes to it first"):
        open_image(pipe)
    monkeypatch.setattr(files, "PIPE_WAIT", 20)
    writer = threading.Timer(0.2, lambda: pipe.write_bytes(PHOTO.read_bytes()))
    writer.start()
    assert run_here(["predict", str(MODEL), str(pipe), "--json"]) == 0
    writer.join()
    assert json.loads(capsys.readouterr().out)["images"][0]["top"][0]["label"] == "Egyptian cat"


@pytest.mark.parametrize("limit", [1000, 8192, 20000])
def test_writers_of_pictures_and_arrays_tell_of_a_full_disk(tmp_path: Path, limit: int) -> None:
    import resource

    import numpy as np
    from PIL import Image

    from inspector.files import write_npy
    from inspector.pages.dreams import save_dream, save_frames
    from inspector.render.png import save_png

    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    made: Any = SimpleNamespace(picture=picture, frames=[picture], layers=[], octaves=[], precision="float32")
    model: Any = SimpleNamespace(sha256="", digest="", graph=SimpleNamespace(files=()))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        for make in (
            lambda: write_npy(tmp_path / "a.npy", noise.astype(np.float32)),
            lambda: write_npy(tmp_path / "a.npy", np.asfortranarray(noise[..., 0])),
            lambda: save_png(picture, tmp_path / "a.png"),
            lambda: save_png(picture, tmp_path / "a.png", level=6),
            *(
                lambda ending=ending: save_dream(made, tmp_path / f"a.{ending}", model, b"", 0, False)
                for ending in ("jpg", "webp", "png")
            ),
            lambda: save_frames(made, tmp_path / "a.gif"),
        ):
            with pytest.raises(OutputError) as caught:
                make()
            assert "the file is larger than is allowed here; choose another disk" in str(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []

"""What goes wrong during a scan: killed workers, a killed driver, vanished files, a full disk, two at a time."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from inspector.errors import OutputError
from inspector.model import Model
from inspector.scanning import ScanError, ScanOptions, scan_pictures
from inspector.scanning.engines.process import WorkerProcess
from inspector.scanning.folder import lock_scan, read_aside, state_path
from tests.conftest import ROOT
from tests.scanning.conftest import read_results

linux = pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
DRIVER = """import sys, inspector
inspector.scan(*sys.argv[1:], workers=2, shard_size=2, top=4, resume=True)"""


def find_workers(folder: Path) -> list[int]:
    """Processes that look at the pictures of a scan."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"inspector.scanning.worker" in told and os.fsencode(folder) in told:
                found.append(int(entry.name))
    return found


def test_two_scans_into_one_folder_are_refused(model: Model, pictures: Path, tmp_path: Path) -> None:
    with lock_scan(tmp_path / "out"), pytest.raises(ScanError, match=r"another scan writes into .* \(process \d+ on "):
        scan_pictures(model, [pictures], tmp_path / "out", ScanOptions(engine="plain"))
    assert not (tmp_path / "out" / "scan.lock").exists()


def test_a_file_that_vanishes_is_skipped(
    model: Model, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "set"
    shutil.copytree(pictures / "green", own)
    gone = sorted(own.iterdir())[3]
    from inspector.scanning import run

    settle = run._settle

    def remove(*given: object) -> object:
        plan = settle(*given)  # type: ignore[arg-type]
        gone.unlink()
        return plan

    monkeypatch.setattr(run, "_settle", remove)
    made = scan_pictures(model, [own], tmp_path / "out", ScanOptions(engine="plain"))
    [(name, reason)] = made.skipped
    assert name.endswith(gone.name)
    assert reason == f"there is no file {name}"


def test_an_archive_that_vanishes_takes_its_pictures_alone(
    model: Model, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("green", "blue"):
        shutil.make_archive(str(tmp_path / kind), "tar", pictures, kind)
    from inspector.scanning.look import ShardLooker

    look = ShardLooker.look

    def remove(self: ShardLooker, shard: int, *more: object) -> object:
        if shard == 1:
            (tmp_path / "blue.tar").unlink(missing_ok=True)
        return look(self, shard, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardLooker, "look", remove)
    options = ScanOptions(engine="plain", shard_size=7, top=4)
    made = scan_pictures(model, [tmp_path / "blue.tar", tmp_path / "green.tar"], tmp_path / "out", options)
    # Seven of blue were in the first shard, and are in the tables; their patches are gone with the file.
    assert (made.pictures, len(made.skipped)) == (20, 6)
    assert {why for _, why in made.skipped} == {f"there is no file {tmp_path / 'blue.tar'}"}
    assert all("blue.tar" in name for name, _ in made.skipped)


@pytest.mark.slow
def test_a_full_disk_is_one_error_and_resume_goes_on(
    model: Model, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inspector.scanning.engines import plain

    save = plain.save_scan_state
    done: list[Path] = []

    def fill(state: object, path: Path) -> Path:
        if len(done) == 2:
            raise OutputError(f"cannot write {path}: the disk is full", "free some space or choose another disk")
        done.append(path)
        return save(state, path)  # type: ignore[arg-type]

    monkeypatch.setattr(plain, "save_scan_state", fill)
    options = ScanOptions(engine="plain", shard_size=7)
    with pytest.raises(OutputError, match="the disk is full"):
        scan_pictures(model, [pictures], tmp_path / "out", options)
    assert not (tmp_path / "out" / "scan.json").exists()
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in done}
    scan_pictures(model, [pictures], tmp_path / "out", ScanOptions(engine="plain", shard_size=7, resume=True))
    assert {path: path.stat().st_mtime_ns for path in done} == before
    scan_pictures(model, [pictures], tmp_path / "other", options)
    assert read_results(tmp_path / "out") == read_results(tmp_path / "other")


@linux
@pytest.mark.slow
def test_files_that_cannot_grow_are_one_line_and_resume_goes_on(
    network: Path, model: Model, pictures: Path, tmp_path: Path
) -> None:
    """As on a full disk, but for the name of the error: the limit holds for the driver and its workers."""
    scan_pictures(model, [pictures], tmp_path / "whole", ScanOptions(engine="plain", top=4))
    out, env = tmp_path / "out", {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "inspector", "scan", str(network), str(pictures), "-o", str(out), "--top", "4"]
    command += ["--threads", "2", "--shard-size", "7", "-q", "--resume"]
    # The list and the plan are smaller, states larger; then tables and sprites are, and states smaller.
    for blocks in (3, 9, 14):
        limited = ["bash", "-c", f'ulimit -f {blocks} && exec "$@"', "bash", *command]
        ran = subprocess.run(limited, env=env, capture_output=True, text=True, timeout=100)
        assert ran.returncode == 2, ran
        [line] = ran.stderr.splitlines()
        assert re.match(r"inspector: cannot write .*: the file is larger than is allowed here", line), line
        assert not (out / "scan.json").exists()
        assert not [p for p in out.rglob("*") if ".part" in p.name]
    subprocess.run(command, env=env, check=True, timeout=100, capture_output=True)
    results = read_results(out)
    results.pop("report.html")
    assert results == read_results(tmp_path / "whole")


@linux
@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_deadly_shard_set_aside(
    model: Model, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ScanOptions(engine="plain", shard_size=7, top=4)
    scan_pictures(model, [pictures], tmp_path / "plain", options)
    # A worker that meets the picture 9 dies of it, as of a decoder's fault; TRIES_LEFT says how often.
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'inspector.scanning.worker' in ' '.join(sys.orig_argv):\n"
        "    import inspector.scanning.look as look\n"
        "    real = look.ShardLooker._look_at\n"
        "    def deadly(self, picture, number, *more):\n"
        "        if number == 9 and len(os.listdir(os.environ['DEATHS'])) < int(os.environ['DEADLY']):\n"
        "            open(os.path.join(os.environ['DEATHS'], str(os.getpid())), 'w').close()\n"
        "            os.kill(os.getpid(), 11)\n"
        "        return real(self, picture, number, *more)\n"
        "    look.ShardLooker._look_at = deadly\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for deaths, out in ((2, "replaced"), (3, "aside")):
        (tmp_path / f"deaths-{out}").mkdir()
        monkeypatch.setenv("DEATHS", str(tmp_path / f"deaths-{out}"))
        monkeypatch.setenv("DEADLY", str(deaths))
        made = scan_pictures(model, [pictures], tmp_path / out, ScanOptions(workers=2, shard_size=7, top=4))
        assert len(made.skipped) == (1 if deaths == 2 else 8)
    assert read_results(tmp_path / "replaced") == read_results(tmp_path / "plain")
    reason = read_aside(tmp_path / "aside", 1)
    assert reason == (
        "its shard was set aside: it ended its worker 3 times, the last one by SIGSEGV at picture number 9"
    )
    assert [why for _, why in made.skipped[:7]] == [reason] * 7
    # It is tried again, and now the picture is harmless.
    scan_pictures(model, [pictures], tmp_path / "aside", ScanOptions(workers=2, shard_size=7, top=4, resume=True))
    assert read_results(tmp_path / "aside") == read_results(tmp_path / "plain")


@linux
@pytest.mark.slow
def test_killed_five_times_and_resumed_it_gives_the_same_bytes(
    network: Path, model: Model, pictures: Path, tmp_path: Path
) -> None:
    scan_pictures(model, [pictures], tmp_path / "whole", ScanOptions(engine="plain", top=4))
    out = tmp_path / "out"
    rng = random.Random(4)
    command = [sys.executable, "-c", DRIVER, str(network), str(pictures), str(out)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    kills = 0
    while kills < 5:
        have = len(list(out.glob("states/*.state")))
        driver = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        # At any time between the first states and the tables.
        until = time.monotonic() + 60
        while driver.poll() is None and time.monotonic() < until:
            if len(list(out.glob("states/*.state"))) >= min(have + rng.randrange(5), 21):
                break
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        if kills % 2 and (workers := find_workers(out)):
            os.kill(rng.choice(workers), signal.SIGKILL)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        kills += 1
    subprocess.run(command, env=env, check=True, timeout=200)
    results = read_results(out)
    results.pop("report.html")
    assert results == read_results(tmp_path / "whole")
    assert not [p for p in out.rglob("*") if re.search(r"\.part", p.name)]


@linux
@pytest.mark.slow
def test_a_worker_ends_with_its_driver(model: Model, pictures: Path, tmp_path: Path) -> None:
    part = ScanOptions(engine="plain", shard=(1, 2), shard_size=21, top=4)
    scan_pictures(model, [pictures], tmp_path / "out", part)
    worker = WorkerProcess(tmp_path / "out")
    state_path(tmp_path / "out", 0).unlink()
    worker.run(0)
    assert state_path(tmp_path / "out", 0).exists()
    assert len(find_workers(tmp_path / "out")) == 1
    worker.close()
    assert find_workers(tmp_path / "out") == []
    assert threading.active_count() < 20

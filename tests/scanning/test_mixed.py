"""What must not be mixed up: scans of other settings, files of one name, a worker that starts as it is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.model import Model
from inspector.scanning import ScanError, ScanOptions, listing, merge_parts, scan_pictures
from inspector.scanning.engines import process
from inspector.scanning.folder import find_missing
from inspector.scanning.listing import Listed, sort_list


def test_files_whose_names_become_equal_are_numbered() -> None:
    given = [Listed("a?.png", "/a\udcff.png"), Listed("a?.png", "/a\udcfe.png"), Listed("a? (2).png", "/x.png")]
    for order in (given, given[::-1], [*given, *given]):
        with sort_list(order) as (ordered, summary):
            assert {x.name: x.file for x in ordered} == {
                "a?.png": "/a\udcfe.png", "a? (2).png": "/x.png", "a? (3).png": "/a\udcff.png"
            }  # fmt: skip
        assert summary.total == 3


@pytest.mark.parametrize("twins", [False, True])
def test_a_list_that_is_sorted_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch, twins: bool) -> None:
    rng = np.random.default_rng(4)
    # Names come again; so that the label of the last one counts, or another file is another picture.
    given = [
        Listed(f"{k:02d}é.png", f"/{k}{'b' if twins and again % 7 == 3 else ''}.png", f"label {again}")
        for again, k in enumerate(rng.integers(0, 40, 90).tolist())
    ]
    found = []
    for size in (1000, 90, 8):
        monkeypatch.setattr(listing, "IN_MEMORY", size)
        with sort_list(iter(given)) as (ordered, summary):
            found.append((list(ordered), list(ordered), summary))
    assert found[0] == found[1] == found[2]
    last = {picture.name: picture for picture in given}
    assert twins or found[0][0] == [last[name] for name in sorted(last)]
    assert len(found[0][0]) == len({picture.file for picture in given})


def test_another_size_of_shards_and_other_inputs_are_not_mixed(model: Model, pictures: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    plans = [
        scan_pictures(model, [pictures], one, ScanOptions(engine="plain", shard=(1, 9), shard_size=size)).plan
        for one, size in zip(folders, (5, 6), strict=True)
    ]
    before = {path: path.read_bytes() for path in folders[0].rglob("*.*") if path.is_file()}
    with pytest.raises(ScanError, match="holds a scan with 5 pictures in a shard, and the parts have 6"):
        merge_parts([folders[1]], folders[0])
    # The lock alone may stay; nobody holds it.
    assert {p: p.read_bytes() for p in folders[0].rglob("*.*") if p.is_file() and p.name != "scan.lock"} == before
    assert find_missing(folders[0], plans[0], [0]) == []
    assert find_missing(folders[0], plans[1], [0]) == [0]
    given = replace(plans[0].model, options={**plans[0].model.options, "inputs": {"scale": [2.0]}})
    assert replace(plans[0], model=given).digest != plans[0].digest == plans[1].digest


@pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
def test_a_worker_that_starts_as_it_is_stopped_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = process.WorkerProcess(tmp_path)
    real, made, threads = subprocess.Popen, list[Any](), list[threading.Thread]()

    def start(_command: object, **more: Any) -> Any:
        threads.append(threading.Thread(target=worker.stop))
        threads[0].start()
        threads[0].join(0.05)
        made.append(real(["sleep", "5"], **more))
        return made[0]

    monkeypatch.setattr(process.subprocess, "Popen", start)
    worker.run(0)
    threads[0].join()
    assert made[0].returncode == -signal.SIGKILL
    assert not list(tmp_path.rglob("*.aside"))

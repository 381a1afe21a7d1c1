"""Activations on disk: whole after a kill, reused, bounded."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from exporters.finetuning.cache import Column, _locked, open_entry
from inspector.errors import OutputError, UsageError

COLUMNS = (Column("a", (2, 3), "float16"), Column("b", (4,), "float32"))
IDS = [f"{k:064x}:0" for k in range(9)]


def values(start: int, stop: int) -> dict[str, np.ndarray]:
    index = np.arange(start, stop, dtype=np.float32)
    return {"a": np.tile(index[:, None, None], (1, 2, 3)), "b": np.tile(index[:, None], (1, 4))}


def entry(root: Path, key: str = "k", names: list[str] = IDS, limit: float = 1.0, note=lambda line: None):
    return open_entry(root, {"key": key}, COLUMNS, names, limit, note)


def size(root: Path) -> int:
    return sum(file.stat().st_size for file in root.glob("*/*"))


def test_rows_come_back_and_are_there_for_the_next_run(tmp_path: Path) -> None:
    with entry(tmp_path) as one:
        assert one.missing(IDS) == IDS
        one.append(IDS[:4], values(0, 4))
        one.append(IDS[4:6], values(4, 6))
    with entry(tmp_path) as again:
        assert again.missing(IDS) == IDS[6:]
        assert again.computed == 0
        assert np.array_equal(again.map("a")[:, 0, 0], np.arange(6))
        assert again.map("b").dtype == np.float32
    with entry(tmp_path, "other") as other:
        assert other.missing(IDS) == IDS


def test_what_a_killed_run_left_half_written_is_cut_off(tmp_path: Path) -> None:
    with entry(tmp_path) as one:
        one.append(IDS[:4], values(0, 4))
        folder = one.folder
    with (folder / "0.float16").open("ab") as file:
        file.write(b"\1" * 17)
    with (folder / "rows.txt").open("ab") as file:
        file.write(b"half a name")
    with entry(tmp_path) as again:
        assert list(again.rows) == IDS[:4]
        again.append(IDS[4:], values(4, 9))
        assert np.array_equal(again.map("a")[:, 1, 2], np.arange(9))
    (folder / "1.float32").write_bytes((folder / "1.float32").read_bytes()[:40])
    with entry(tmp_path) as third:
        assert list(third.rows) == IDS[:2]


def test_values_beyond_float16_are_not_stored_as_infinity(tmp_path: Path) -> None:
    with entry(tmp_path) as one:
        with pytest.raises(OverflowError, match="a"):
            one.append(IDS[:1], {"a": np.full((1, 2, 3), 1e6, np.float32), "b": np.zeros((1, 4))})
        assert one.rows == {}
        assert one.missing(IDS) == IDS


def test_the_least_recently_used_makes_room_and_too_much_is_refused(tmp_path: Path) -> None:
    said: list[str] = []
    for key in ("old", "new"):
        with entry(tmp_path, key) as one:
            one.append(IDS, values(0, 9))
            key_file = one.folder / "key.json"
        if key == "old":
            os.utime(key_file, (1, 1))
            old = one.folder
    limit = (size(tmp_path) + 9 * (12 + 16) - 1) / 1e9
    with open_entry(tmp_path, {"key": "third"}, COLUMNS, IDS, limit, said.append) as third:
        third.append(IDS, values(0, 9))
    assert not old.exists()
    assert key_file.exists()
    assert "made room" in said[0]
    with (
        pytest.raises(UsageError, match="the cache may have"),
        open_entry(tmp_path, {"key": "big"}, (Column("a", (10**9,), "float16"),), IDS, 1.0, said.append),
    ):
        pass


def test_new_pictures_on_the_same_base_do_not_grow_it_without_end(tmp_path: Path) -> None:
    """Of the rows that are wanted again none is computed anew."""
    said: list[str] = []
    limit = 2500e-9
    for turn in range(6):
        new = [f"{100 * (turn + 1) + k:064x}:0" for k in range(8)]
        names = [IDS[0], *new, IDS[1]]
        with entry(tmp_path, names=names, limit=limit, note=said.append) as one:
            assert one.missing(names) == (new if turn else names)
            numbers = {name: float(k) for k, name in enumerate(names)}
            for name in one.missing(names):
                value = np.full((1, 4), numbers[name], np.float32)
                one.append([name], {"a": np.tile(value[:, None, :3], (1, 2, 1)), "b": value})
            for tensor in ("a", "b"):
                held = one.map(tensor)
                assert all(held[one.rows[name]].max() == held[one.rows[name]].min() == numbers[name] for name in names)
        assert size(tmp_path) <= limit * 1e9
    assert any("of other pictures were removed" in line for line in said)
    with entry(tmp_path, names=names) as again:
        assert again.missing(names) == []


def test_a_kill_while_rows_are_removed_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with entry(tmp_path) as one:
        one.append(IDS, values(0, 9))
        monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            one.keep(IDS[4:])
    monkeypatch.undo()
    with entry(tmp_path) as again:
        assert again.missing(IDS) == IDS
        again.append(IDS, values(0, 9))
        assert np.array_equal(again.map("a")[:, 0, 0], np.arange(9))


def test_room_on_the_disk_is_needed_for_what_is_missing_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with entry(tmp_path) as one:
        one.append(IDS, values(0, 9))
        row = one.row_bytes

    def free(left: int) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=2**28 + left)
        monkeypatch.setattr("exporters.finetuning.cache.shutil.disk_usage", lambda root: usage)

    others = [f"{100 + k:064x}:0" for k in range(3)]
    free(3 * row)
    with entry(tmp_path, names=others):
        pass
    free(3 * row - 1)
    with pytest.raises(OutputError, match=r"has 0\.3 free"), entry(tmp_path, names=others):
        pass
    free(0)
    with entry(tmp_path, names=[]):
        pass


def test_what_a_run_reads_is_not_removed_by_another(tmp_path: Path) -> None:
    said: list[str] = []
    with entry(tmp_path, "reading") as one:
        one.append(IDS, values(0, 9))
        one.stop_filling()
        limit = (one.row_bytes * 10) / 1e9
        with entry(tmp_path, "other", limit=limit, note=said.append) as other:
            other.append(IDS, values(0, 9))
        assert np.array_equal(one.map("a")[:, 0, 0], np.arange(9))
        # The same key with other pictures: added beside, nothing compacted.
        with entry(tmp_path, "reading", [f"{100:064x}:0"], limit, said.append) as same:
            assert list(same.rows) == IDS
    assert any("beyond its" in line and "other runs use what is in it" in line for line in said)
    folder = one.folder
    with entry(tmp_path, "third", limit=limit):
        assert not folder.exists()


def test_a_folder_that_is_removed_while_a_run_waits_for_it_is_made_anew(tmp_path: Path) -> None:
    with entry(tmp_path) as first:
        folder = first.folder
    found: list[bool] = []

    def wait() -> None:
        with entry(tmp_path) as one:
            one.append(IDS, values(0, 9))
            found.append(one.folder.is_dir() and len(one.map("a")) == 9)

    with _locked(folder / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        shutil.rmtree(folder)
    thread.join(timeout=20)
    assert found == [True]


def test_an_entry_goes_to_another_process_without_its_locks(tmp_path: Path) -> None:
    with entry(tmp_path) as one:
        one.append(IDS, values(0, 9))
        there = pickle.loads(pickle.dumps(one))
    assert np.array_equal(there.map("a")[:, 0, 0], np.arange(9))

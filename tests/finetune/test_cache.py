"""Activations on disk: whole after a kill, reused, bounded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from exporters.finetuning.cache import Column, open_entry
from inspector.errors import UsageError

COLUMNS = (Column("a", (2, 3), "float16"), Column("b", (4,), "float32"))
IDS = [f"{k:064x}:0" for k in range(9)]


def values(start: int, stop: int) -> dict[str, np.ndarray]:
    index = np.arange(start, stop, dtype=np.float32)
    return {"a": np.tile(index[:, None, None], (1, 2, 3)), "b": np.tile(index[:, None], (1, 4))}


def entry(root: Path, key: str = "k", rows: int = 9, limit: float = 1.0):
    return open_entry(root, {"key": key}, COLUMNS, rows, limit, lambda line: None)


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
    taken = sum(file.stat().st_size for file in tmp_path.glob("*/*"))
    limit = (taken + 9 * (12 + 16) - 1) / 1e9
    with open_entry(tmp_path, {"key": "third"}, COLUMNS, 9, limit, said.append) as third:
        third.append(IDS, values(0, 9))
    assert not old.exists()
    assert key_file.exists()
    assert "made room" in said[0]
    with (
        pytest.raises(UsageError, match="the cache may have"),
        open_entry(tmp_path, {"key": "big"}, COLUMNS, 10**9, 1.0, said.append),
    ):
        pass

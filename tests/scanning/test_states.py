"""Exact sums, histograms and the file of a state."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.scanning import ScanError, load_scan_state, save_scan_state
from inspector.scanning.exact import BINS, find_bins, list_edges, read_means, read_sums, sum_exactly, to_fixed
from inspector.scanning.folder import state_path
from inspector.scanning.state_file import pack_state

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_sums_are_exact_and_rounded_once(values: list[float]) -> None:
    column = np.array(values, np.float32)[:, None]
    exact = sum((Fraction(v) for v in column[:, 0].tolist()), Fraction(0))
    cells = sum_exactly(column)
    assert read_sums(cells)[0] == float(exact) == math.fsum(column[:, 0].tolist())
    assert read_means(cells, len(values))[0] == float(exact / len(values))
    # Any way of cutting gives the same cells.
    cut = len(values) // 2
    assert (sum_exactly(column[:cut]) + sum_exactly(column[cut:]) == cells).all()


def test_what_is_not_finite_adds_nothing() -> None:
    assert read_sums(sum_exactly(np.float32([[np.inf], [2], [-np.inf], [np.nan]]))).tolist() == [2.0]
    assert to_fixed(np.float32([np.nan, 1.5, -1e30])).tolist() == [0, 3 << 23, -(1 << 41)]


@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_bins_lie_between_their_edges(values: list[float]) -> None:
    edges = list_edges()
    assert len(edges) == BINS - 1
    assert (np.diff(edges) > 0).all()
    numbers = np.array(values, np.float32)
    magnitude = np.searchsorted(edges, np.abs(numbers), side="right")
    expected = np.where(numbers < 0, BINS - 1 - magnitude, magnitude)
    assert find_bins(numbers).tolist() == expected.tolist()


def test_states_merge_in_any_order_to_the_same_bytes(scanned: Path) -> None:
    states = [load_scan_state(state_path(scanned, shard)) for shard in range(6)]
    forward = states[0]
    for state in states[1:]:
        forward = forward + state
    for order in ([5, 3, 1, 0, 2, 4], [2, 1, 0, 5, 4, 3]):
        other = states[order[0]]
        for k in order[1:]:
            other = other + states[k]
        assert pack_state(other) == pack_state(forward)
    halves = (states[0] + states[4]) + (states[2] + (states[1] + (states[5] + states[3])))
    assert pack_state(halves) == pack_state(forward)
    assert forward.ranges == ((0, 41),)
    assert forward.pictures == 40
    assert [number for number, _ in forward.skipped] == [40]


def test_what_does_not_belong_together_is_refused(scanned: Path, tmp_path: Path) -> None:
    state = load_scan_state(state_path(scanned, 0))
    with pytest.raises(ScanError, match="pictures 0 to 6 are in two states; merge each once"):
        state + state
    from dataclasses import replace

    with pytest.raises(ScanError, match="the states are of different scans"):
        state + replace(state, scan="other", ranges=((50, 60),))


def test_a_state_comes_back_from_its_file_and_damage_is_seen(scanned: Path, tmp_path: Path) -> None:
    path = state_path(scanned, 1)
    state = load_scan_state(path)
    assert pack_state(state) == path.read_bytes()
    assert load_scan_state(path, rows=False).rows is None
    copy = save_scan_state(state, tmp_path / "copy.state")
    data = bytearray(copy.read_bytes())
    for place, text in ((0, "is no state of a scan"), (15, "has form"), (20, "is damaged"), (len(data) - 9, "damaged")):
        broken = bytearray(data)
        broken[place] ^= 0x40
        copy.write_bytes(broken)
        with pytest.raises(ScanError, match=text):
            load_scan_state(copy)
    copy.write_bytes(data[: len(data) // 2])
    with pytest.raises(ScanError, match="its digest is not that of its content"):
        load_scan_state(copy)

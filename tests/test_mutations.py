"""Thousands of damaged models and pictures, in a process that may die: nothing but an InspectorError may come of them.

The inputs are made from a seed, so a failure names its input: ``tests.mutations.model_bytes(seed, index)``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import mutations
from tests.conftest import ROOT

SEED = int(os.environ.get("INSPECTOR_TESTS_SEED", "0"))
COUNT = int(os.environ.get("INSPECTOR_TESTS_MUTATIONS", "2100"))


def feed(kind: str, folder: Path, start: int, stop: int, seed: int = SEED) -> tuple[list[str], Counter[str], int]:
    """(what went wrong, how often each outcome was, KiB of memory at most) of all inputs.

    It takes as many processes as it takes: an input that kills one is skipped by the next."""
    wrong: list[str] = []
    outcomes: Counter[str] = Counter()
    memory = 0
    while start < stop:
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutations", kind, str(folder), str(seed), str(start), str(stop)],
            cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        under_way = None
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            index, _, outcome = rest.partition(" ")
            if word == "begin":
                under_way = int(index)
            elif word == "end":
                under_way = None
                outcomes[outcome.split(":")[0]] += 1
                if not outcome.startswith(("ok", "refused ")):
                    wrong.append(f"{kind} {index} of seed {seed}: {outcome}")
            elif word == "memory":
                memory = max(memory, int(index))
        if done.stderr:
            wrong.append(f"{kind}, on stderr: {done.stderr[:2000]}")
        if done.returncode == 0:
            break
        # -27 and -14 are the alarms of the time limits, -11 a segmentation fault, -6 an abort.
        wrong.append(f"{kind} {under_way} of seed {seed}: the process ended with {done.returncode}")
        if under_way is None:
            break
        start = under_way + 1
    return wrong, outcomes, memory


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_models(tmp_path: Path) -> None:
    wrong, outcomes, memory = feed("models", tmp_path, 0, COUNT)
    assert not wrong, "\n".join(wrong[:20])
    assert outcomes.total() == COUNT
    # The damage is neither always noticed at once nor always harmless, or the test tests nothing.
    assert outcomes["ok"] > COUNT // 20
    assert outcomes["refused model"] > COUNT // 4
    assert memory < 2_500_000


def test_images(tmp_path: Path) -> None:
    wrong, outcomes, memory = feed("images", tmp_path, 0, COUNT)
    assert not wrong, "\n".join(wrong[:20])
    assert outcomes.total() == COUNT
    assert outcomes["ok"] > COUNT // 20
    assert outcomes["refused image"] > COUNT // 4
    assert memory < 1_600_000  # the largest picture that is decoded, with its transparency


def test_the_same_seed_makes_the_same_damage() -> None:
    for index in range(40):
        assert mutations.model_bytes(1, index) == mutations.model_bytes(1, index)
        assert mutations.image_bytes(1, index) == mutations.image_bytes(1, index)
    assert mutations.model_bytes(1, 0) != mutations.model_bytes(2, 0)


def test_a_death_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: inputs whose process dies are named, and the others still get their turn."""
    script = tmp_path / "tests" / "mutations.py"
    script.parent.mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    script.write_text(
        "import os, sys\n"
        "for i in range(int(sys.argv[4]), int(sys.argv[5])):\n"
        "    print('begin', i, flush=True)\n"
        "    if i in (2, 4): os.kill(os.getpid(), 11)\n"
        "    print('end', i, 'ok' if i != 5 else 'BUG ValueError', flush=True)\n"
    )
    monkeypatch.setattr("tests.test_mutations.ROOT", tmp_path)
    wrong, outcomes, _ = feed("models", tmp_path, 0, 7)
    assert [line.split(" of seed")[0] for line in wrong] == ["models 2", "models 4", "models 5"]
    assert outcomes.total() == 5

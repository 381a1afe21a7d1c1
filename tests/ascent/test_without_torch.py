"""What needs no torch runs where torch cannot be imported; the rest says in one line what to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ascent.nets import small
from tests.conftest import ROOT


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process without torch."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from inspector.cli.app import main\n"
        f"main({[*arguments]!r})\n"
    )  # fmt: skip
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=folder, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def here(tmp_path: Path) -> Path:
    small(tmp_path / "small.onnx")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for n in range(3):
        Image.fromarray(rng.integers(0, 256, (36, 36, 3), np.uint8)).save(tmp_path / "photos" / f"{n}.png")
    return tmp_path


@pytest.mark.parametrize("only", [True, False])
def test_patches_of_real_pictures(here: Path, only: bool) -> None:
    arguments = ["filters", "small.onnx", "--layer", "two_act", "--from-images", "photos", "--top", "2", "--json"]
    done = run(here, *arguments, *(["--patches-only"] if only else []))
    assert done.returncode == 0
    assert ("torch is not installed: patches only" in done.stderr) is not only
    made = json.loads(done.stdout)
    assert made["grid"] is None
    assert len(made["channels"]) == 6
    assert all(c["image"] is None and len(c["patches"]) == 2 for c in made["channels"])
    assert (here / made["patches"]).is_file()


@pytest.mark.parametrize(
    "arguments",
    [("filters", "small.onnx", "--layer", "two_act"), ("dream", "small.onnx", "photos/0.png", "--layer", "two_act")],
    ids=["filters", "dream"],
)
def test_patterns_and_dreams_name_the_extra(here: Path, arguments: tuple[str, ...]) -> None:
    done = run(here, *arguments, "--quiet")
    assert (done.returncode, done.stdout) == (2, "")
    assert f'pip install -e "{ROOT}[torch]"' in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (here / "inspector-out").exists()

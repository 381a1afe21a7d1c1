"""What is built is what runs: a wheel, unpacked somewhere else, without torch and without this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel of this checkout is unpacked in, which is all that installing it does."""
    pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools 77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("inspector", "exporters", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta as b; print(b.build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("onnx_inspector-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_module_is_in_it_and_nothing_else(installed: Path) -> None:
    for package in ("inspector", "exporters"):
        ours = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}
        assert ours == {path.relative_to(installed) for path in (installed / package).rglob("*.py")}
    for package in ("inspector", "exporters"):
        other = {
            p.relative_to(ROOT) for p in (ROOT / package).rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")
        }
        assert all((installed / path).is_file() for path in other), "data that code reads has to travel with it"
    tops = {path.name.split("-")[0] for path in installed.iterdir()}
    assert tops == {"inspector", "exporters", "onnx_inspector"}


def test_it_runs_elsewhere(installed: Path, tmp_path: Path, default_model: Path, photo: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"import inspector; assert inspector.__file__.startswith({str(installed)!r}), inspector.__file__\n"
        "from inspector.cli.app import main\n"
        f"main(['predict', {str(default_model)!r}, {str(photo)!r}])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Egyptian cat" in done.stdout

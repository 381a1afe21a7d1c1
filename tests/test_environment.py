from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from inspector import environment, runtime
from inspector.errors import MissingExtra, UsageError
from inspector.runtime import distributions


def test_here() -> None:
    found = environment.examine()
    json.dumps(found, allow_nan=False)
    assert found["works"]["inspect"] is True
    assert found["chosen"][-1] == "CPUExecutionProvider"
    assert found["runtimes"] in (["onnxruntime"], ["onnxruntime-gpu"])
    assert {"numpy", "onnx", "onnxruntime", "torch"} <= {p["name"] for p in found["packages"]}
    assert next(p for p in found["providers"] if p["name"] == "cpu") == {
        "name": "cpu",
        "built_in": True,
        "device": True,
    }
    assert found["cores"] >= 1
    assert "--provider auto runs on: " in found["advice"][0]


def test_without_a_runtime_and_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Any:
        raise MissingExtra("onnxruntime is not installed", 'pip install "onnx-inspector[cpu]"')

    monkeypatch.setattr(environment, "load_runtime", missing)
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    found = environment.examine()
    assert found["works"] == {"inspect": False, "twin": False, "export": False}
    assert found["advice"][0] == 'onnxruntime is not installed; pip install "onnx-inspector[cpu]"'
    assert found["advice"][1].startswith("torch is not installed")


def test_cuda_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Runtime:
        @staticmethod
        def get_available_providers() -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(environment, "load_runtime", lambda: Runtime)
    monkeypatch.setattr(environment, "has_device", lambda name: name == "cpu")
    found = environment.examine()
    assert "this onnxruntime has CUDA, but no CUDA device was found" in found["advice"]
    cuda = next(p for p in found["providers"] if p["name"] == "cuda")
    assert cuda == {"name": "cuda", "built_in": True, "device": False}


def test_the_card_is_named_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "choose_providers", lambda name: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(environment, "name_device", lambda name: "Card 9000" if name == "cuda" else "")
    monkeypatch.setattr(environment, "try_provider", lambda name: "")
    assert environment.examine("auto", 2)["advice"][0] == "--provider auto runs on: cuda (Card 9000), cpu (2 threads)"
    monkeypatch.setattr(environment, "try_provider", lambda name: "libcudnn.so.9: cannot open")
    found = environment.examine("auto", 2)
    assert found["chosen"] == ["CPUExecutionProvider"]
    assert found["advice"][:2] == [
        "CUDAExecutionProvider cannot be used (libcudnn.so.9: cannot open); models run on the CPU in its place",
        "--provider auto runs on: cpu (2 threads)",
    ]


def test_the_provider_and_threads_asked_for() -> None:
    found = environment.examine("cpu", 3)
    assert found["advice"][0] == "--provider cpu runs on: cpu (3 threads)"
    with pytest.raises(UsageError, match="there is no provider 'quantum'"):
        environment.examine("quantum")


def install(folder: Path, name: str, version: str, module: str = "", text: str = "") -> None:
    """A distribution as pip leaves it, as far as it is looked at here."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    if module:
        (folder / module).mkdir(exist_ok=True)
        (folder / module / "__init__.py").write_text(text, "utf-8")


def install_runtime(folder: Path, name: str, version: str) -> None:
    install(folder, name, version, "onnxruntime", "raise ImportError('half of it is of another build')")
    (folder / "onnxruntime" / "capi").mkdir(exist_ok=True)
    (folder / "onnxruntime" / "capi" / "build_and_package_info.py").write_text(
        f"package_name = '{name}'\n__version__ = '{version}'\n", "utf-8"
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are found in before all others, and where no onnxruntime is loaded yet."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(environment, "_PACKAGES", [row for row in environment._PACKAGES if row[1] == "onnxruntime"])
    everything = distributions._list_versions

    def list_versions(names: Collection[str]) -> dict[str, str]:
        """What is installed beside the tests is not there."""
        given = everything(names).items()
        return {name: version for name, version in given if list(tmp_path.glob(f"{name.replace('-', '_')}-*"))}

    monkeypatch.setattr(distributions, "_list_versions", list_versions)
    return tmp_path


def test_another_build_of_the_runtime_is_named(site: Path) -> None:
    install_runtime(site, "onnxruntime-openvino", "9.8.7")
    assert runtime.find_runtimes() == ["onnxruntime-openvino"]
    assert runtime.find_imported() == runtime.RuntimePackage("onnxruntime-openvino", "9.8.7", site / "onnxruntime")
    rows = environment._list_packages(runtime.find_runtimes())
    row = next(row for row in rows if row["name"] == "onnxruntime-openvino")
    assert row["version"] == "9.8.7"
    assert "half of it is of another build" in row["problem"]


@pytest.mark.parametrize("last", ["onnxruntime", "onnxruntime-openvino"])
def test_builds_over_one_another_are_noticed(site: Path, last: str) -> None:
    for name in sorted(["onnxruntime", "onnxruntime-openvino"], key=lambda name: name == last):
        install_runtime(site, name, "9.8.7")
    found = environment.examine()
    assert found["runtimes"] == ["onnxruntime", "onnxruntime-openvino"]
    assert found["runtime"] == {"name": last, "version": "9.8.7"}
    assert found["works"]["inspect"] is False
    first, last_line = found["advice"][0], found["advice"][-1]
    assert first.startswith(
        "onnxruntime and onnxruntime-openvino are both installed and overwrite each other; pip uninstall -y "
        "onnxruntime onnxruntime-openvino, then install one: pip install "
    )
    assert first.endswith(" or pip install onnxruntime-openvino")
    assert last_line == f"`import onnxruntime` gives {last} 9.8.7, from {site / 'onnxruntime'}"


def test_what_is_installed_is_what_importlib_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime_gpu-9.9.dist-info").mkdir()  # left of one that is gone
    (tmp_path / "ONNXruntime_OpenVINO.egg-info").mkdir()
    (tmp_path / "ONNXruntime_OpenVINO.egg-info" / "PKG-INFO").write_text("Name: x\nVersion: 1.5\n", "utf-8")
    (tmp_path / "Old.Thing-1.2-py3.11.egg-info").write_text("Version: 1.2\n", "utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    wanted = {"onnxruntime-gpu", "onnxruntime-openvino", "old-thing"}
    assert distributions._list_versions(wanted) == {"onnxruntime-openvino": "1.5", "old-thing": "1.2"}
    monkeypatch.undo()
    told = {re.sub("[-_.]+", "-", found.name).lower(): found.version for found in metadata.distributions()}
    assert distributions._list_versions({*told, "is-not-installed"}) == told


def test_a_build_of_somebodys_own(site: Path) -> None:
    install_runtime(site, "ort-mine", "1.0")
    assert runtime.find_runtimes() == ["ort-mine"]


def test_a_package_that_ends_its_process_is_a_line(site: Path) -> None:
    bad = {
        "killed": "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
        "gone": "import os; os._exit(3)",
        "wrong": "print('x'); raise RuntimeError('one\\ntwo')",
        "fine": "print('[not an answer]')",
    }
    for name, text in bad.items():
        install(site, name, "1.0", name, text)
    assert environment.find_problems(tuple(bad), tuple(sys.path)) == {
        "killed": "it ends the process: illegal instruction (signal 4); this build is for another processor",
        "gone": "it ends the process with exit code 3",
        "wrong": "RuntimeError: one two",
    }


def test_a_runtime_that_ends_its_process_does_not_end_this_one(site: Path) -> None:
    install_runtime(site, "onnxruntime", "9.8.7")
    (site / "onnxruntime" / "__init__.py").write_text(
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "utf-8"
    )
    found = environment.examine()
    assert found["chosen"] == []
    assert found["advice"][0] == (
        "onnxruntime cannot be imported: it ends the process: segmentation fault (signal 11); pip install "
        "--force-reinstall onnxruntime"
    )


def test_an_import_without_end_is_a_line(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "endless", "1.0", "endless", "import time; time.sleep(600)")
    monkeypatch.setattr(environment, "_PATIENCE", 2.0)
    assert environment.find_problems(("endless", "json"), tuple(sys.path)) == {"endless": "no answer within 2 seconds"}

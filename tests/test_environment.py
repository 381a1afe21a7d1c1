from __future__ import annotations

import json
from typing import Any

import pytest

from inspector import environment
from inspector.errors import MissingExtra, UsageError


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


def test_the_provider_and_threads_asked_for() -> None:
    found = environment.examine("cpu", 3)
    assert found["advice"][0] == "--provider cpu runs on: cpu (3 threads)"
    with pytest.raises(UsageError, match="there is no provider 'quantum'"):
        environment.examine("quantum")

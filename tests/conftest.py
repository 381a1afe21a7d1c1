"""Fixtures that all tests share: the photograph, the default model, small models in a few lines, and torch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings

from tests.foreign import Net

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests also load the runtime by themselves

# How long one example takes, and how long it takes to draw, says how busy the machine is and nothing about the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "docs" / "chelsea.jpg"
DEFAULT_MODEL = ROOT / "models" / "efficientnet-lite0.onnx"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

MakeModel = Callable[..., Path]


# The exporters need torch from their first line on. Where torch was asked for, they are collected and fail without it.
_WITH_TORCH = find_spec("torch") or os.environ.get("INSPECTOR_TESTS_TORCH") == "1"
collect_ignore = [] if _WITH_TORCH else ["exporters", "finetune"]


@pytest.fixture(scope="session")
def photo() -> Path:
    """The photograph of the repository: an Egyptian cat, 451 x 300 pixels."""
    return PHOTO


@pytest.fixture(scope="session")
def default_model() -> Path:
    """EfficientNet-Lite0 with metadata and labels, as it is embedded."""
    return DEFAULT_MODEL


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Writes a small model and gives its path.

    >>> path = make_model(lambda net, x: net("Relu", net.conv(x, 3, 4)))
    """

    def make(
        build: Callable[[Net, str], str | tuple[str, ...]] | onnx.ModelProto,
        *,
        shape: tuple[Any, ...] | None = (1, 3, 8, 8),
        dtype: int = 1,
        name: str = "model.onnx",
        metadata: dict[str, str] | None = None,
        outputs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Path:
        if isinstance(build, onnx.ModelProto):
            model = build
        else:
            net = Net(**options)
            made = build(net, net.input("x", shape, dtype))
            names = (made,) if isinstance(made, str) else made
            model = net.model(*names, shapes=outputs)
        if metadata:
            onnx.helper.set_model_props(model, metadata)
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return make


@pytest.fixture(scope="session")
def small_photo() -> np.ndarray:
    """uint8 (20, 24, 3), the same noise every time."""
    return np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """The torch module. Without it the test is skipped, but fails where INSPECTOR_TESTS_TORCH=1 asks for torch."""
    return require("torch")


def require(name: str) -> ModuleType:
    """A package of the [dev] extra, for a test or (in torch-only modules) for a whole file.

    INSPECTOR_TESTS_TORCH=1 says that all of it is installed: a skip there would be counted as a pass.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("INSPECTOR_TESTS_TORCH") == "1":
            pytest.fail(f"INSPECTOR_TESTS_TORCH=1, but {name} cannot be imported: {error}")
        pytest.skip(f"{name} is not installed", allow_module_level=True)


@pytest.fixture
def no_descriptor_leak() -> Iterator[None]:
    """Fails when the test leaves more files open than there were."""
    folder = Path("/proc/self/fd")
    if not folder.exists() or sys.platform != "linux":
        yield
        return
    before = len(list(folder.iterdir()))
    yield
    assert len(list(folder.iterdir())) <= before


def take_signals() -> None:
    """Before a process that is to be ended by signals: those who run the tests may ignore them, as a shell behind &."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)

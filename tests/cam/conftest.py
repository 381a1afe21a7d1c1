from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector import Model, open_model
from tests.cam.nets import pooled_net


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def pooled(tmp_path: Path, rng: np.random.Generator) -> Model:
    """trunk -> global average pool -> linear."""
    return open_model(pooled_net(tmp_path / "pooled.onnx", rng)[0])

"""Single nodes against onnxruntime, in the twin's own type and in the file's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import require

torch = require("torch")

from inspector.twin import build_twin, verify_twin  # noqa: E402
from tests.twin.compared import FAMILIES, Single  # noqa: E402


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_nodes_agree_with_onnxruntime(family: Callable[[], Iterator[Single]], tmp_path: Path) -> None:
    wrong = []
    for number, single in enumerate(family()):
        graph = single.graph(tmp_path)
        for dtype in (torch.float32, None):
            twin = build_twin(graph, single.outputs, dtype=dtype)
            try:
                verify_twin(twin, graph, single.feeds, tolerance=1e-4)
            except Exception as error:
                wrong.append((number, single.op, dict(single.attributes), dtype, str(error)))
    assert not wrong

"""Quantizing needs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

CODE = """
import sys
sys.modules["torch"] = None  # an import of torch now fails
from exporters.quantizing import quantize_model
made = quantize_model(*sys.argv[1:4], auto=True, target=0.5, pictures=2)
half = quantize_model(sys.argv[1], sys.argv[4], sys.argv[3], to="fp16", pictures=2)
print(made.bytes_after < made.bytes_before, half.bytes_after < half.bytes_before)
"""


@pytest.mark.slow
def test_a_model_is_quantized_where_torch_cannot_be_imported(default_model: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(photo.read_bytes())
    given = [str(default_model), *(str(tmp_path / name) for name in ("int8.onnx", "photos", "fp16.onnx"))]
    done = subprocess.run([sys.executable, "-c", CODE, *given], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr

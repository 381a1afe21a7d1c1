"""A model is its graph and its weights: where these lie outside of the file, other weights are another model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector.auditing.snapshot import load_snapshot
from inspector.cli.app import run
from tests.conftest import PHOTO, MakeModel, require
from tests.foreign import Net


@pytest.fixture
def model(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A classifier whose weights lie beside it."""

    def build(n: Net, x: str) -> str:
        y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 32, w="w"), out="r")))
        return n("Softmax", n("Gemm", y, n.weight((32, 4))))

    plain = make_model(build, shape=(1, 3, 16, 16), name="plain.onnx")
    path = tmp_path / "model.onnx"
    onnx.save_model(onnx.load(plain), path, save_as_external_data=True, location="model.bin", size_threshold=0)
    monkeypatch.chdir(tmp_path)
    return path


def digest_of(path: Path) -> str:
    """What the README says: the digest of the file's own, as hex, and of the data's."""
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(own.encode() + hashlib.sha256(path.with_suffix(".bin").read_bytes()).digest()).hexdigest()


def swap_weights(path: Path) -> None:
    data = path.with_suffix(".bin")
    values = np.frombuffer(data.read_bytes(), np.float32)
    data.write_bytes((values[::-1] * 0.5).tobytes())


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    run([*arguments, "--json"])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_old_verdict_is_not_that_of_the_new_weights(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digest_of(model)
    Path("pictures").mkdir()
    Image.open(PHOTO).save("pictures/a.png")
    commands = {
        "audit": ("audit", "model.onnx", "--data", "pictures", "--save-snapshot", "snapshot.npz"),
        "layers": ("layers", "model.onnx"),
        "predict": ("predict", "model.onnx", str(PHOTO)),
        "activations": ("activations", "model.onnx", str(PHOTO), "-o", "out"),
    }
    for name, arguments in commands.items():
        found = document(capsys, *arguments)
        assert found["model"]["digest"] == before, name  # type: ignore[index]
        assert found["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()  # type: ignore[index]
        Path(f"{name}.json").write_text(json.dumps(found))
    assert load_snapshot("snapshot.npz").model["digest"] == before
    sheet = next(Path("out").rglob("*.png"))
    with Image.open(sheet) as picture:
        assert before in picture.info["Model"]
    assert run(["report", "model.onnx", str(PHOTO), "-o", "a.html", "--audit", "audit.json"]) == 0
    assert before in Path("a.html").read_text()

    swap_weights(model)
    after = digest_of(model)
    assert after != before
    capsys.readouterr()
    assert run(["report", "model.onnx", str(PHOTO), "-o", "b.html", "--audit", "audit.json"]) == 2
    assert f"audit.json is about another model, SHA-256 {before[:16]}…; this one is {after[:16]}…" in (
        capsys.readouterr().err
    )
    run(["activations", "model.onnx", str(PHOTO), "-o", "out"])
    assert "results of model.onnx, of an earlier run into the same folder, were replaced" in capsys.readouterr().err


def test_patterns_of_other_weights_are_drawn_anew(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("torch")
    arguments = (
        "filters",
        "model.onnx",
        "--layer",
        "r",
        "--channels",
        "0",
        "--steps",
        "2",
        "--size",
        "16",
        "-o",
        "out",
    )
    first = document(capsys, *arguments)
    picture = Path(first["channels"][0]["image"])  # type: ignore[index]
    drawn = picture.stat().st_mtime_ns
    document(capsys, *arguments)
    assert picture.stat().st_mtime_ns == drawn  # what is finished is kept
    swap_weights(model)
    again = document(capsys, *arguments)
    assert again["channels"][0]["activation"] != first["channels"][0]["activation"]  # type: ignore[index]

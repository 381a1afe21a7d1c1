"""Runtimes beside onnxruntime: they run a graph in parts and give what onnxruntime gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import inspector
from inspector import open_model
from inspector.comparing import list_runtimes
from inspector.comparing.answers import AnswerSums
from inspector.errors import UsageError
from tests.audit.detectors import LABELS, detector, opened, paint, random_cells, segmenter
from tests.comparing.test_compare import build
from tests.conftest import MakeModel
from tests.foreign import Net


@pytest.mark.parametrize("name", ["twin", "openvino", "web"])
def test_another_runtime_does_not_part(make_model: MakeModel, photo: Path, name: str) -> None:
    path = make_model(build, shape=(1, 3, 32, 32))
    assert name in list_runtimes()
    try:
        found = inspector.compare(path, images=photo, runtimes=["cpu", name])
    except inspector.MissingExtra as error:
        pytest.skip(error.message)
    assert found.parted is None
    assert found.layers[0].own_db is not None
    assert len(found.layers) == len(inspector.list_layers(path))


def test_a_provider_that_nothing_runs_on_is_refused(make_model: MakeModel) -> None:
    model = open_model(make_model(segmenter()), provider="cpu")
    for more in ({"runtimes": ["basic", "reference"]}, {"b": model, "runtimes": "basic"}):
        with pytest.raises(UsageError, match="nothing runs on provider 'cpu'; name it: --runtime cpu"):
            inspector.compare(model, **more)


def test_no_share_is_told_where_one_answer_cannot_be_read(make_model: MakeModel) -> None:
    model = opened(make_model, segmenter(), labels=("other", *LABELS))
    sums = AnswerSums(model, model)
    picture = Image.fromarray(paint(random_cells(1)[0]))
    tensor = model.preprocess.tensor(picture)
    values = model.run(tensor, sums.tensors[0])
    sums.add("a", picture, (tensor, tensor), values, values)
    assert sums.conclude().agreement == 1
    sums.add("b", picture, (tensor, tensor), values, {name: x[0, 0, 0] for name, x in values.items()})
    assert sums.note.startswith("the answers are not compared: ")
    assert sums.conclude().agreement is None


@pytest.mark.parametrize(("make", "labels", "off", "share"), [
    (detector, LABELS, {"shift": 6.0}, 0.0), (segmenter, ("other", *LABELS), {"confidence": -20.0}, 0.1),
], ids=["boxes", "pixels"])  # fmt: skip
def test_what_another_runtime_gave_is_decoded(
    make_model: MakeModel, make: Callable[..., Callable[[Net, str], str]], labels: tuple[str, ...],
    off: dict[str, float], share: float,
) -> None:  # fmt: skip
    pictures = [Image.fromarray(paint(cells)) for cells in random_cells(3)]
    model = opened(make_model, make(), labels=labels)
    found = inspector.compare(model, images=pictures, runtimes=["cpu", "reference", "basic"])
    assert [(run.answers.agreement, run.notes) for run in found.runs] == [(1, ()), (1, ())]
    other = opened(make_model, make(**off), "other.onnx", labels=labels)
    answers = inspector.compare(model, other, pictures, runtimes="reference").answers
    assert (answers.agreement, len(answers.flipped)) == (pytest.approx(share, abs=0.1), 3)

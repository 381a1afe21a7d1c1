"""The pictures of an audit: found, labelled by their folders, opened once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.auditing import (
    audit_model,
)
from inspector.auditing.pictures import find_entries
from inspector.errors import ClassNotFound, ImageError
from inspector.image import choose_evenly
from inspector.metadata import KEY, Metadata
from inspector.model import Model, open_model
from tests.audit.networks import small
from tests.audit.pictures import folder, pngs
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net


def test_folders_are_classes_by_label_or_index(model: Model, tmp_path: Path) -> None:
    found = find_entries(model, folder(tmp_path, "cat/a.png", "Dog/deep/b.png", "2/c.png"))
    assert found.labelled
    assert [(e.key, e.label) for e in found.entries] == [("2/c.png", 2), ("Dog/deep/b.png", 1), ("cat/a.png", 0)]


@pytest.mark.parametrize("labels", [None, ("sound", "cracked")])
def test_one_score_without_labels_has_the_classes_0_and_1(
    labels: tuple[str, ...] | None, make_model: MakeModel, tmp_path: Path
) -> None:
    def build(n: Net, x: str) -> str:
        y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8))))
        return n("Sigmoid", n("Gemm", y, n.weight((1, 8)), transB=1), out="p")

    given = {KEY: Metadata(labels=labels).dumps()} if labels else None
    model = open_model(make_model(build, shape=("N", 3, 8, 8), metadata=given))
    data = folder(tmp_path, *(f"{k}/{n}.png" for k in (0, 1) for n in "abc"))
    entries = find_entries(model, data).entries
    assert [e.label for e in entries] == [0, 0, 0, 1, 1, 1]
    shares = [model.run(model.tensor(e.path), ["p"])["p"].item() for e in entries]
    right = sum((share >= 0.5) == (e.label == 1) for share, e in zip(shares, entries, strict=True))
    assert audit_model(model, policy("accuracy"), data=data).check("accuracy").value == pytest.approx(right / 6)
    with pytest.raises(ClassNotFound, match="the indices are 0 to 1"):
        model.find_class(2)


@pytest.mark.parametrize(
    ("names", "labelled", "outcome"),
    [
        (("a.png",), "auto", "has pictures outside of any class folder|no folders named after classes"),
        (("wolf/a.png", "bear/a.png"), "auto", "'bear', 'wolf' of .* are no classes of the model"),
        (("cat/a.png",), "no", "the policy says that the folders are no classes"),
    ],
)
def test_pictures_without_classes(
    model: Model, tmp_path: Path, names: tuple[str, ...], labelled: Any, outcome: str
) -> None:
    found = find_entries(model, folder(tmp_path, *names), labelled)
    assert not found.labelled
    assert found.entries[0].label is None
    import re

    assert re.search(outcome, found.unlabelled)


@pytest.mark.parametrize(
    ("names", "labelled", "message"),
    [
        (("cat/a.png", "wolf/b.png"), "auto", "'wolf' of .* is no class of the model"),
        (("cat/a.png", "b.png"), "auto", "has pictures outside of any class folder"),
        (("wolf/b.png",), "yes", "is no class"),
        (("b.png",), "yes", "has no folders to take classes from"),
    ],
)
def test_a_folder_that_is_half_labelled_is_an_error(
    model: Model, tmp_path: Path, names: tuple[str, ...], labelled: Any, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        find_entries(model, folder(tmp_path, *names), labelled)


def test_a_folder_that_is_named_like_two_classes(make_model: MakeModel, tmp_path: Path) -> None:
    metadata = Metadata(labels=("crane", "dog", "crane")).dumps()
    model = open_model(make_model(small, shape=("N", 3, 16, 16), metadata={KEY: metadata}, name="cranes.onnx"))
    shared = folder(tmp_path, "Crane/a.png", "dog/b.png")
    with pytest.raises(ImageError, match=r"'Crane' of .* is named like 2 classes: 0 'crane', 2 'crane'"):
        find_entries(model, shared)
    assert not find_entries(model, shared, "no").labelled


def test_folders_that_are_none(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        audit_model(model, policy("opset"), data=tmp_path / "none")
    with pytest.raises(ImageError, match="holds no pictures"):
        audit_model(model, policy("opset"), data=tmp_path)


def test_spread() -> None:
    assert choose_evenly(5, 0) == choose_evenly(5, 9) == (0, 1, 2, 3, 4)
    assert choose_evenly(10, 2) == (2, 7)
    assert choose_evenly(100, 3) == (16, 50, 83)
    assert all(len(set(choose_evenly(n, k))) == min(n, k or n) for n in range(1, 40) for k in range(n + 2))


def test_pictures_that_cannot_be_read_are_reported_and_left_out(model: Model, tmp_path: Path) -> None:
    pngs(tmp_path, 9)
    (tmp_path / "004.png").write_bytes(b"no picture")
    found = audit_model(model, policy("pictures-readable", "finite-on-images", "dead-channels"), data=tmp_path)
    readable = found.check("pictures-readable")
    assert (readable.status, readable.value) == ("fail", pytest.approx(1 / 9))
    assert readable.where.image is not None
    assert readable.where.image.endswith("004.png")
    finite = found.check("finite-on-images")
    assert finite.status == "pass"
    assert finite.message == f"all {len(model.layers)} layers are finite on 8 pictures"
    assert found.check("dead-channels").status != "skipped"
    # What could not be read does not count among those that a channel needs to be called dead.
    (tmp_path / "005.png").write_bytes(b"no picture")
    found = audit_model(model, policy("dead-channels"), data=tmp_path)
    assert found.check("dead-channels").message == "not run: 7 pictures are too few; the policy asks for 8"


def test_when_none_can_be_read_nothing_passes(model: Model, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"no picture")
    found = audit_model(model, policy("pictures-readable", "finite-on-images"), data=tmp_path)
    assert found.check("pictures-readable").status == "fail"
    assert found.check("finite-on-images").message == "not run: none of the pictures could be read"
    assert not found.passed


def test_a_model_that_cannot_run_is_an_error_of_each_check(make_model: MakeModel, tmp_path: Path) -> None:
    def refused(net: Net, x: str) -> str:
        return net.conv(net("Reshape", x, net.const(np.array([1, 5, 7, 7]))), 5, 2)

    found = audit_model(
        make_model(refused, shape=(1, 3, 8, 8)), policy("opset", "finite-on-images"), data=pngs(tmp_path / "p", 2)
    )
    assert found.check("opset").status == "pass"
    assert found.check("finite-on-images").status == "error"
    assert "onnxruntime cannot" in found.check("finite-on-images").message
    assert not found.passed


def test_each_picture_is_run_once_for_all_checks(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    real = Model.run_layers

    def counting(self: Model, *arguments: Any, **options: Any) -> Any:
        runs.append(1)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Model, "run_layers", counting)
    chosen = policy("representation", "finite-on-images", "accuracy", "confusion", "class-recall")
    audit_model(model, chosen, data=pngs(tmp_path, 12, ("cat", "dog")))
    assert len(runs) == 12


def test_memory_does_not_grow_with_the_pictures(model: Model, tmp_path: Path) -> None:
    pngs(tmp_path / "few", 20, ("cat", "dog"))
    pngs(tmp_path / "many", 240, ("cat", "dog"))
    chosen = policy("representation", "finite-on-images", "behaviour", images={"sample": 8})
    audit_model(model, chosen, data=tmp_path / "few")  # sessions and imports
    peaks = []
    for name in ("few", "many"):
        tracemalloc.start()
        audit_model(model, chosen, data=tmp_path / name)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 220 more pictures leave a path and a prediction each.
    assert peaks[1] - peaks[0] < 220 * 2500, peaks

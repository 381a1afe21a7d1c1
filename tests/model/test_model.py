"""An opened model: what it takes in, which classes it has, how often it runs."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inspector
from inspector import Metadata, open_model
from inspector.errors import (
    ClassNotFound,
    InspectorError,
    LayerNotFound,
    MetadataError,
    ModelError,
    NotComputable,
    UsageError,
)
from inspector.image import Preprocess
from inspector.metadata import KEY
from inspector.model import Model, describe_model, to_probabilities
from inspector.model import open_model as plain_open_model
from tests.conftest import MakeModel
from tests.foreign import FLOAT16, UINT8, Net

ARRAY = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def classifier(end: str = "", classes: int = 4, flat: bool = True) -> Any:
    def build(n: Net, x: str) -> str:
        y = n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8, out="c"), out="r"), out="p")
        if flat:
            y = n("Gemm", n("Flatten", y, out="f"), n.weight((classes, 8)), transB=1, out="scores")
        else:
            y = n.conv(y, 8, classes, 1, out="scores")
        return n(end, y, out="end") if end else y

    return build


def test_the_public_names_exist() -> None:
    assert set(inspector.__all__) <= set(dir(inspector))
    for name in inspector.__all__:
        assert getattr(inspector, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        inspector.nothing  # noqa: B018


def test_the_default_model_knows_the_cat(default_model: Path, photo: Path) -> None:
    model = open_model(default_model)
    top = model.predict(photo)
    assert top[0].label == "Egyptian cat"
    assert model.assumed == ()
    assert model.classes == len(model.labels or ()) == 1000
    assert all(x.exposed for x in model.layers if x.kind in ("conv", "activation", "add"))
    assert model.find_class("egyptian CAT") == top[0].index


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "activation", "in_graph"),
    [
        (classifier(), "softmax", False),
        (classifier("Softmax"), "softmax", True),
        (classifier("LogSoftmax"), "softmax", True),
        (classifier("Sigmoid"), "sigmoid", True),
        (classifier(classes=1), "sigmoid", False),
        (classifier("Sigmoid", classes=1), "sigmoid", True),
        (classifier(flat=False), "softmax", False),
        (classifier("Flatten", flat=False), "softmax", False),
    ],
)
def test_scores_and_probabilities(build: Any, activation: str, in_graph: bool, make_model: MakeModel) -> None:
    model = open_model(make_model(build))
    assert model.classifier is not None
    assert (model.classifier.activation, model.classifier.in_graph) == (activation, in_graph)
    tensor = model.tensor(ARRAY)
    scores = model.scores(tensor)
    raw = model.run(tensor, ["scores"])["scores"].reshape(1, -1)
    np.testing.assert_array_equal(scores, raw)
    expected = 1 / (1 + np.exp(-raw)) if activation == "sigmoid" else np.exp(raw) / np.exp(raw).sum()
    np.testing.assert_allclose(model.probabilities(scores), expected, rtol=1e-5)
    top = model.predict(ARRAY, top=99)
    if raw.size > 1:  # one score stands for two classes
        assert [p.score for p in top] == sorted((float(x) for x in raw[0]), reverse=True)
    assert [p.probability for p in top] == sorted((p.probability for p in top), reverse=True)


def test_softmax_of_four_dimensions(make_model: MakeModel) -> None:
    """Caffe2 ends in Softmax over (N, K, 1, 1); before opset 13 that flattens, which is the same."""

    def build(n: Net, x: str) -> str:
        y = n.conv(n("GlobalAveragePool", n.conv(x, 3, 8)), 8, 5, 1, out="scores")
        return n("Softmax", y, out="end", axis=1)

    model = open_model(make_model(build, opset=11))
    assert (model.classes, model.classifier and model.classifier.scores) == (5, "scores")
    assert sum(p.probability for p in model.predict(ARRAY, 5)) == pytest.approx(1)


@pytest.mark.parametrize("labels", [None, ["dog", "cat"], ["cat"]])
def test_one_logit_for_two_classes(labels: list[str] | None, make_model: MakeModel) -> None:
    document = Metadata(labels=tuple(labels)) if labels else Metadata()
    model = open_model(make_model(classifier(classes=1), metadata={KEY: document.dumps()}))
    top = model.predict(ARRAY)
    p = 1 / (1 + np.exp(-float(model.scores(model.tensor(ARRAY))[0, 0])))
    if labels and len(labels) == 2:
        assert {x.label: x.probability for x in top} == pytest.approx({"cat": p, "dog": 1 - p})
        assert top[0].probability >= 0.5
    elif labels:
        assert [(x.label, x.probability) for x in top] == [("cat", pytest.approx(p))]
    else:  # what one sigmoid gives is the probability of class 1
        assert {x.label: x.probability for x in top} == pytest.approx({"class 1": p, "class 0": 1 - p})
        assert {x.index: x.label for x in top} == {1: "class 1", 0: "class 0"}


def test_no_classification_output(make_model: MakeModel) -> None:
    model = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4), out="map"), outputs={"map": (1, 4, 8, 8)}))
    with pytest.raises(NotComputable) as caught:
        model.predict(ARRAY)
    assert "has no classification output (its outputs: map); activations and layers work on it" in str(caught.value)
    assert model.classes is None


def test_the_last_of_several_outputs_is_the_classification(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> tuple[str, ...]:
        r = n("Relu", n.conv(x, 3, 8), out="r")
        early = n("Gemm", n("Flatten", n("GlobalAveragePool", r)), n.weight((4, 8)), transB=1, out="auxiliary")
        late = n.conv(r, 8, 8, out="late")
        return late, n("Gemm", n("Flatten", n("GlobalMaxPool", late)), n.weight((4, 8)), transB=1, out="main"), early

    model = open_model(make_model(build))
    assert model.classifier is not None
    assert model.classifier.scores == "main"


def test_labels(make_model: MakeModel) -> None:
    labels = ("tabby, tabby cat", "Cat", "cat", "7")
    path = make_model(classifier(), metadata={KEY: Metadata(labels=labels).dumps()})
    model = open_model(path)
    assert model.labels == labels
    for given_, index in (
        ("cat", 2),
        ("Cat", 1),
        ("tabby", 0),
        ("TABBY CAT", 0),
        ("3", 3),
        (0, 0),
        ("7", 3),
        (" cat ", 2),
    ):
        assert model.find_class(given_) == index
    for given_, message in (
        ("CAT", "2 classes are called 'CAT'; give one index: 1, 2"),
        ("dog", "there is no class 'dog'; nearest: "),
        (4, "there is no class 4; the indices are 0 to 3"),
        ("-1", "there is no class -1; the indices are 0 to 3"),
        ("", "there is no class ''"),
        ("²", "there is no class '²'"),
    ):
        with pytest.raises(ClassNotFound) as caught:
            model.find_class(given_)
        assert str(caught.value).startswith(message)
    bare = open_model(make_model(classifier(), name="bare.onnx"))
    with pytest.raises(ClassNotFound, match="the model has no labels; give an index, or write labels into the file"):
        bare.find_class("cat")
    assert bare.label(3) == "class 3"
    assert bare.find_class("class 3") == 3


def test_labels_that_do_not_fit_are_ignored_and_said(make_model: MakeModel) -> None:
    model = open_model(make_model(classifier(), metadata={KEY: Metadata(labels=("a", "b")).dumps()}))
    assert model.labels is None
    assert "labels ignored: 2 of them for 4 classes" in model.assumed


@given(st.integers(0, 2**32 - 1), st.integers(-100, 100), st.booleans())
def test_probabilities_do_not_overflow(seed: int, exponent: int, extreme: bool) -> None:
    # Made of three integers, since drawing an array number by number is slow on a busy machine.
    scores = np.random.default_rng(seed).uniform(-1, 1, (3, 5)) * 2.0**exponent
    if extreme:
        scores[0, :2], scores[1] = (2.0**100, -(2.0**100)), 0
    scores = scores.astype(np.float32)
    softmax, sigmoid = to_probabilities(scores, "softmax"), to_probabilities(scores, "sigmoid")
    np.testing.assert_allclose(softmax.sum(1), 1)
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()
    np.testing.assert_array_equal(to_probabilities(scores, "none"), scores)


def test_broken_weights_give_nan_and_no_warning(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        y = n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8)))
        return n("Gemm", n("Flatten", y), n.const(np.full((4, 8), np.inf)), transB=1, out="scores")

    model = open_model(make_model(build))
    top = model.predict(ARRAY)
    assert len(top) == 3
    assert np.isnan(to_probabilities(np.float32([[np.inf, np.inf]]), "softmax")).all()


def test_top_out_of_range(make_model: MakeModel) -> None:
    model = open_model(make_model(classifier()))
    for top in (0, -1):
        with pytest.raises(UsageError, match=f"top {top} is less than 1"):
            model.predict(ARRAY, top)


# --- input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_fixed_batch(batch: int, make_model: MakeModel) -> None:
    fixed = open_model(make_model(classifier(), shape=(batch, 3, 8, 8)))
    free = open_model(make_model(classifier(), shape=("n", 3, 8, 8), name="free.onnx"))
    tensor = np.random.default_rng(0).standard_normal((7, 3, 8, 8)).astype(np.float32)
    for count in (1, 5, 7):
        expected, scores = free.layer_values(tensor[:count], scores=True)
        found, again = fixed.layer_values(tensor[:count], scores=True)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5)
        np.testing.assert_allclose(again, scores, atol=1e-5)
    assert fixed.activations(ARRAY, ["r"]).popitem()[1].shape == (1, 8, 8, 8)


def test_uint8_and_half_precision(make_model: MakeModel) -> None:
    def bytes_in(n: Net, x: str) -> str:
        y = n("Transpose", n("Cast", x, to=1), perm=[0, 3, 1, 2])
        return n("Relu", n.conv(n("Div", y, n.const(np.float32(255))), 3, 4), out="r")

    model = open_model(make_model(bytes_in, shape=("n", 8, 8, 3), dtype=UINT8))
    assert (model.preprocess.dtype, model.preprocess.layout, model.preprocess.scale) == ("uint8", "NHWC", 1.0)
    assert model.tensor(ARRAY).dtype == np.uint8
    assert "bytes 0 to 255: the graph normalises them itself" in " ".join(model.assumed)
    assert model.activations(ARRAY, ["r"]).popitem()[1].dtype == np.float32

    def half(n: Net, x: str) -> str:
        return n("Relu", n("Conv", x, n.weight((4, 3, 3, 3), dtype=np.float16)), out="r")

    model = open_model(make_model(half, dtype=FLOAT16))
    assert model.tensor(ARRAY).dtype == np.float16
    assert model.activations(ARRAY, ["r"]).popitem()[1].dtype == np.float32


@pytest.mark.parametrize("first", ["Sub", "Mul", "BatchNormalization"])
def test_a_graph_that_normalises_itself(first: str, make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        learned = [n.const(np.full(3, value, np.float32)) for value in (1, 0, 118, 60**2)]  # of pictures in bytes
        two = n.const(np.ones((1, 3, 1, 1)) * 2)
        y = n(first, x, *learned) if first == "BatchNormalization" else n(first, x, two)
        return n("Relu", n.conv(y, 3, 4))

    assert open_model(make_model(build)).preprocess == Preprocess.named("raw", (8, 8))


def test_nhwc_without_a_size(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        return n("Relu", n.conv(n("Transpose", x, perm=[0, 3, 1, 2]), 3, 4), out="r")

    model = open_model(make_model(build, shape=("a", "b", "c", "d")))
    assert (model.input.layout, model.input.channels, model.preprocess.size) == ("NHWC", 3, (224, 224))
    assert model.activations(ARRAY, ["r"]).popitem()[1].shape == (1, 4, 224, 224)


def test_grey(make_model: MakeModel) -> None:
    model = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 1, 4), out="r"), shape=(1, None, None, 9)))
    assert model.input.channels == 1
    assert model.preprocess.colour == "L"
    assert model.preprocess.size == (224, 9)


def test_the_preprocess_of_the_file_is_taken(make_model: MakeModel) -> None:
    wanted = Preprocess.named("caffe", (8, 8))
    path = make_model(classifier(), metadata={KEY: Metadata(preprocess=wanted).dumps()})
    model = open_model(path)
    assert model.preprocess == wanted
    assert model.assumed == (
        "probabilities by softmax over the 4 scores (the graph ends without one; annotate --activation says otherwise)",
    )
    assert open_model(path, metadata=False).preprocess == Preprocess.named("imagenet", (8, 8))
    path = make_model(classifier(), metadata={KEY: Metadata(preprocess=replace(wanted, size=(9, 9))).dumps()})
    model = open_model(path)
    assert model.preprocess.size == (8, 8)
    assert model.assumed == (
        "size 8x8 as the graph fixes it, not 9x9",
        "probabilities by softmax over the 4 scores (the graph ends without one; annotate --activation says otherwise)",
    )
    grey = Preprocess.named("unit", (8, 8), channels=1)
    with pytest.raises(ModelError, match="the preprocess makes 1 channels, the input has 3; write it again"):
        open_model(make_model(classifier(), metadata={KEY: Metadata(preprocess=grey).dumps()}))
    with pytest.raises(MetadataError, match="is not JSON"):
        open_model(make_model(classifier(), metadata={KEY: "{"}))
    assert open_model(make_model(classifier(), metadata={KEY: "{"}), metadata=False)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_preprocess_for_another_graph(layout: str, make_model: MakeModel) -> None:
    """A wrong layout, type or size in the metadata is refused with a reason, not with a traceback."""
    for changes in ({"layout": "NHWC" if layout == "NCHW" else "NCHW"}, {"dtype": "float16"}, {"resize": "none"}):
        document = Metadata(preprocess=replace(Preprocess.named("unit", (8, 8), layout=layout), **changes))  # type: ignore[arg-type]

        def build(n: Net, x: str) -> str:
            return n("Relu", n.conv(x if layout == "NCHW" else n("Transpose", x, perm=[0, 3, 1, 2]), 3, 4))

        size = (1, 3, 8, 8) if layout == "NCHW" else (1, 8, 8, 3)
        try:
            open_model(make_model(build, shape=size, metadata={KEY: document.dumps()})).activations(ARRAY)
        except InspectorError as error:
            assert "\n" not in str(error)  # noqa: PT017


# --- running ----------------------------------------------------------------------------------------------------------


def test_every_way_to_name_a_layer(make_model: MakeModel) -> None:
    model = open_model(make_model(classifier("Softmax")))
    assert [x.name for x in model.layers] == ["c", "c.relu", "p", "scores", "end"]
    assert list(model.activations(ARRAY, ["r", model.layers[0], "relu"])) == ["c.relu", "c"]
    with pytest.raises(LayerNotFound, match="there is no layer 'conv9'; nearest: "):
        model.activations(ARRAY, ["conv9"])


def test_one_run_for_everything(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(make_model(classifier("Softmax")))
    runs: list[Any] = []
    real = type(model.sessions).run
    monkeypatch.setattr(type(model.sessions), "run", lambda *given_: runs.append(given_) or real(*given_))
    values, scores = model.layer_values(model.tensor(ARRAY), scores=True)
    assert len(runs) == 1
    assert len(values) == len(model.layers)
    assert scores is not None
    assert model.run(model.tensor(ARRAY), []) == {}


def test_memory_does_not_grow(make_model: MakeModel) -> None:
    import resource

    model = open_model(make_model(classifier(), shape=(1, 3, 128, 128)))
    for _ in range(20):
        model.activations(ARRAY)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        model.activations(ARRAY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_describe(make_model: MakeModel) -> None:
    path = make_model(classifier(), producer="someone")
    model: Model = open_model(path)
    found = describe_model(model)
    assert found["path"] == str(path)
    assert (found["opset"], found["producer"], found["classes"], found["labelled"]) == (17, "someone", 4, False)
    assert found["input"] == {"name": "x", "shape": [1, 3, 8, 8], "layout": "NCHW", "dtype": "float32"}
    assert found["parameters"] == 8 * 27 + 8 + 4 * 8
    assert len(found["sha256"]) == 64
    assert found["bytes"] == path.stat().st_size


# --- the model as an object -------------------------------------------------------------------------------------------


def test_repr_is_one_line(default_model: Path, make_model: MakeModel) -> None:
    model = open_model(default_model)
    assert repr(model) == (
        f"<Model '{default_model}' sha256 {model.sha256[:12]} input input (N, 3, 224, 224) 1000 classes, "
        f"{len(model.layers)} layers>"
    )
    maps = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4), out="map"), outputs={"map": (1, 4, 8, 8)}))
    assert repr(maps).endswith("input x (1, 3, 8, 8) no classes, 2 layers>")


def test_a_model_is_equal_to_itself_alone(make_model: MakeModel) -> None:
    path = make_model(classifier())
    first, second = open_model(path), open_model(path)
    assert first == first
    assert first != second
    assert {first: 1, second: 2}[second] == 2


def test_copies_are_opened_again(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    document = Metadata(labels=("a", "b", "c", "d")).dumps()
    path = make_model(classifier(), metadata={KEY: document})
    model = open_model(path, provider="cpu", threads=1, metadata=False, warn=said.append)
    model.predict(ARRAY)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other) is inspector.Model
        assert other is not model
        assert (other.path, other.sha256) == (model.path, model.sha256)
        assert (other.provider, other.threads, other.labels) == ("cpu", 1, None)
        assert other.predict(ARRAY) == model.predict(ARRAY)
    copy.copy(model).warn("heard")
    pickle.loads(pickle.dumps(model)).warn("not heard: a callback is not pickled")
    assert said == ["heard"]
    assert type(copy.copy(plain_open_model(path))) is Model

    monkeypatch.chdir(tmp_path)
    stored = pickle.dumps(open_model(path.name))
    monkeypatch.chdir(path.parent.parent)
    assert pickle.loads(stored).path == path.resolve()

    make_model(classifier(classes=5))
    with pytest.raises(ModelError, match=r"has changed since the model was copied: its SHA-256 is .*; open the file"):
        copy.copy(model)
    with pytest.raises(ModelError, match="has changed since the model was copied"):
        pickle.loads(stored)
    path.unlink()
    with pytest.raises(ModelError):
        pickle.loads(stored)

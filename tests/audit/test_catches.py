"""What the audit must catch, on real networks; the healthy one beside each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.auditing import audit_model
from tests.audit import broken
from tests.audit.pictures import MARK, cat, crops, marked, write
from tests.audit.policies import policy
from tests.conftest import require
from tests.foreign import Net

FILE = policy("file")


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dynamo", [True, False], ids=["exporter", "old_exporter"])
def test_a_real_export_in_train_mode_is_caught(tmp_path: Path, dynamo: bool) -> None:
    torch, torchvision = require("torch"), require("torchvision")
    import logging
    import warnings

    # The network of the paper, cut after its third block: exporters are slow.
    network = torchvision.models.MobileNetV2(inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]).train()
    path = tmp_path / "train.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            torch.onnx.export(
                network, (torch.randn(2, 3, 64, 64),), path, dynamo=dynamo, verbose=False,
                training=torch.onnx.TrainingMode.TRAINING, **({"external_data": False} if dynamo else {}),
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    found = audit_model(path, FILE)
    assert found.check("training-mode").status == "fail"
    assert not found.passed


@pytest.mark.parametrize(
    ("kind", "opset", "inputs", "given", "bad"),
    [
        ("BatchNormalization", 17, 0, {"training_mode": 1}, True),
        ("BatchNormalization", 17, 0, {}, False),
        ("BatchNormalization", 17, 0, {"training_mode": 0}, False),
        ("Dropout", 17, 1, {}, True),
        ("Dropout", 17, 0, {}, False),
        ("RandomNormalLike", 17, None, {}, True),
        ("Bernoulli", 17, None, {}, True),
    ],
)
def test_nodes_in_training_mode(
    tmp_path: Path, kind: str, opset: int, inputs: int | None, given: dict[str, int], bad: bool
) -> None:
    net = Net(opset=opset)
    x = net.conv(net.input("x", (1, 3, 8, 8)), 3, 4)
    if kind == "BatchNormalization":
        outputs = ["y", "m", "v"] if given.get("training_mode") else ["y"]
        x = net.bn(x, 4, out=outputs, **given)
    elif kind == "Dropout":
        x = net("Dropout", x, net.const(np.float32(0.5)), net.const(np.array(bool(inputs))))
    else:
        x = net("Add", x, net(kind, net("Sigmoid", x)))
    path = tmp_path / "m.onnx"
    path.write_bytes(net.model(net("Relu", x)).SerializeToString())
    found = audit_model(path, policy("training-mode")).check("training-mode")
    assert found.status == ("fail" if bad else "pass")
    if bad:
        assert kind in found.findings[0].message
        assert found.where.layer


def test_a_nan_weight_is_caught_and_located(tmp_path: Path) -> None:
    found = audit_model(broken.not_a_number(tmp_path / "nan.onnx"), policy("weights-finite", "finite-on-plain"))
    weights, plain = found.check("weights-finite"), found.check("finite-on-plain")
    assert weights.status == plain.status == "fail"
    assert (weights.value, weights.where.layer, weights.where.channel) == (1, "blocks.6.expand_conv", 7)
    assert "1 of 4,631,002 weights are not finite, in blocks.6.expand_conv" in weights.message
    assert (plain.where.layer, plain.where.channel) == ("blocks.6.expand_conv", 7)


def test_a_third_of_the_filters_zeroed_is_caught(tmp_path: Path, cats: Path, default_model: Path) -> None:
    demands = policy("zero-filters", "dead-channels", "drift")
    sick = broken.third_zeroed(tmp_path / "zeroed.onnx")
    found = audit_model(sick, demands, data=cats, against=default_model)
    for id in ("zero-filters", "dead-channels"):
        check = found.check(id)
        assert check.status == "fail"
        assert "blocks.3.expand_conv" in [f.where.layer for f in check.findings]
        assert max(f.value or 0 for f in check.findings) == pytest.approx(49 / 144)
    assert found.check("drift-layers").status == "fail"
    assert not found.passed


# --- the answers ------------------------------------------------------------------------------------------------------

ANSWERS = policy(
    "accuracy", "class-recall", "confusion", "drift-preprocess", "drift-labels", "drift-layers", "drift-agreement",
    "drift-accuracy", images={"sample": 4},
)  # fmt: skip


def test_the_healthy_model_passes_what_the_broken_ones_fail(photographs: Path, default_model: Path) -> None:
    found = audit_model(default_model, ANSWERS, data=photographs, against=default_model)
    assert found.passed, [c for c in found.checks if c.status not in ("pass", "skipped")]
    assert found.check("accuracy").value == 1
    assert found.check("drift-layers").value == 100


def test_a_mean_and_std_that_were_forgotten_are_caught_by_drift(
    tmp_path: Path, photographs: Path, default_model: Path
) -> None:
    """The network bears it well, 23 of 24 pictures: the drift tells, and the accuracy it had."""
    sick = broken.wrong_mean_and_std(tmp_path / "wrong.onnx")
    found = audit_model(sick, ANSWERS, data=photographs, against=default_model)
    changed = [f.message for f in found.check("drift-preprocess").findings]
    assert changed == [
        "mean was [0.485, 0.456, 0.406] and is [0.0, 0.0, 0.0]",
        "std was [0.229, 0.224, 0.225] and is [1.0, 1.0, 1.0]",
    ]
    for id in ("drift-layers", "drift-accuracy"):
        assert found.check(id).status == "fail", id
    assert found.check("accuracy").value == pytest.approx(23 / 24)
    own = policy("accuracy", checks={"accuracy": {"min": 0.98}})  # the healthy model reaches 1
    assert audit_model(default_model, own, data=photographs).passed
    assert not audit_model(sick, own, data=photographs).passed


def test_a_mean_and_std_of_other_pixels_are_caught_by_accuracy_and_drift(
    tmp_path: Path, photographs: Path, default_model: Path
) -> None:
    sick = broken.wrong_mean_and_std(tmp_path / "wrong.onnx", of_bytes=True)
    chosen = policy("metadata-consistent", "accuracy", "drift", images={"sample": 4})
    found = audit_model(sick, chosen, data=photographs, against=default_model)
    caught = (
        "metadata-consistent",
        "accuracy",
        "drift-preprocess",
        "drift-layers",
        "drift-accuracy",
        "drift-agreement",
    )
    assert [found.check(id).status for id in caught] == ["fail"] * 6


def test_colours_in_the_wrong_order_are_caught(tmp_path: Path, photographs: Path, default_model: Path) -> None:
    sick = broken.colours_swapped(tmp_path / "bgr.onnx")
    found = audit_model(sick, ANSWERS, data=photographs, against=default_model)
    assert "colour was RGB and is BGR" in found.check("drift-preprocess").message
    assert found.check("drift-layers").status == "fail"
    assert found.check("drift-agreement").status == "fail"
    assert found.check("drift-accuracy").status == "fail"


def test_swapped_labels_are_caught_with_and_without_pictures(
    tmp_path: Path, photographs: Path, default_model: Path
) -> None:
    sick = broken.labels_swapped(tmp_path / "swapped.onnx")
    found = audit_model(sick, ANSWERS, data=photographs, against=default_model)
    recall = found.check("class-recall")
    assert recall.status == "fail"
    assert sorted(f.message for f in recall.findings) == [
        "of the class Egyptian cat only 0.0% are recognised",
        "of the class espresso only 0.0% are recognised",
    ]
    assert found.check("confusion").status == "warn"
    assert found.check("drift-agreement").status == "fail"
    assert found.check("accuracy").status == "fail"
    assert found.check("drift-layers").status == "pass"  # the network itself is the same
    without = audit_model(sick, policy("drift-labels"), against=default_model).check("drift-labels")
    assert (without.status, without.value) == ("fail", 2)
    assert "class 285 was 'Egyptian cat' and is 'espresso'" in without.message


def test_the_same_without_scikit_image(tmp_path: Path, cats: Path, default_model: Path) -> None:
    """One photograph is enough for what does not depend on how the classes differ."""
    sick = broken.labels_swapped(tmp_path / "swapped.onnx")
    found = audit_model(sick, policy("accuracy", "class-recall", "drift-agreement"), data=cats, against=default_model)
    assert [c.status for c in found.checks if c.status != "skipped"] == ["fail"] * 3
    sick = broken.wrong_mean_and_std(tmp_path / "wrong.onnx")
    found = audit_model(sick, policy("drift-preprocess", "drift-layers"), data=cats, against=default_model)
    assert found.check("drift-layers").status == "fail"
    assert found.check("drift-layers").where.layer == "conv_stem"


def test_a_badly_quantised_layer_is_caught_and_named(tmp_path: Path, cats: Path, default_model: Path) -> None:
    sick = broken.badly_quantised(tmp_path / "rough.onnx", "blocks.6.expand_conv")
    found = audit_model(sick, policy("drift-layers", "drift-channels"), data=cats, against=default_model)
    layers = found.check("drift-layers")
    assert layers.status == "fail"
    by_layer = {row["layer"]: row["sqnr_db"] for row in layers.details["layers"]}
    names = list(by_layer)
    at = names.index("blocks.6.expand_conv")
    assert all(by_layer[name] == 100 for name in names[:at])
    assert all(by_layer[name] < 30 for name in names[at : at + 2])
    assert "the first below 30 dB is blocks.6.expand_conv" in layers.message or (
        layers.where.layer == "blocks.6.expand_conv"
    )
    channels = found.check("drift-channels")
    assert channels.where.layer in names[at:]
    every = channels.details["channels"]
    assert list(every) == names
    assert {len(every[names[0]]), *every[names[0]]} == {32, 100}
    assert min(map(min, every.values())) <= channels.value + 0.05


# --- what it looks at -------------------------------------------------------------------------------------------------


def _marked_set(folder: Path, rng: np.random.Generator) -> Path:
    """Two classes of crops of one photograph; only the watermark tells them apart."""
    write(folder / "plain", crops([cat()], 12, rng))
    write(folder / "marked", (marked(c) for c in crops([cat()], 12, rng)))
    return folder


def test_a_network_that_looks_at_the_watermark_is_caught(tmp_path: Path, default_model: Path) -> None:
    rng = np.random.default_rng(3)
    training = _marked_set(tmp_path / "training", rng)
    data = _marked_set(tmp_path / "data", rng)
    files = [(path, k) for k, name in enumerate(("plain", "marked")) for path in sorted((training / name).iterdir())]
    pictures = np.array([None] * len(files), object)
    pictures[:] = [Image.open(path).convert("RGB") for path, _ in files]
    sick = broken.fine_tuned(tmp_path / "tuned.onnx", pictures, np.array([k for _, k in files]), ["plain", "marked"])

    regions = {"avoid": list(MARK), "box": [0.0, 0.0, 1.0, MARK[1]]}  # the cat fills the picture
    regional = ("cam-energy-inside", "cam-pointing-game", "cam-energy-avoided")
    looks = policy("accuracy", *regional, regions=regions, images={"explain": 12})
    only_marked = write(
        tmp_path / "marked_only" / "marked", (Image.open(p) for p in sorted((data / "marked").iterdir()))
    )
    found = audit_model(sick, looks, data=only_marked.parent)
    assert found.check("accuracy").value == 1  # by accuracy alone it is a fine model
    avoided = found.check("cam-energy-avoided")
    assert avoided.status == "fail", avoided.message
    assert avoided.value > 5
    assert found.check("cam-energy-inside").status == "fail"
    assert (found.check("cam-pointing-game").status, found.check("cam-pointing-game").value) == ("warn", 0)
    assert not found.passed
    # Plain pictures among them do not hide it.
    assert audit_model(sick, looks, data=data).check("cam-energy-avoided").status == "fail"

    # The healthy model on the same pictures, watermark and all, looks at the cat.
    unlabelled = policy(*regional, regions=regions, images={"explain": 12, "labelled": "no"})
    healthy = audit_model(default_model, unlabelled, data=only_marked.parent)
    assert healthy.check("cam-energy-avoided").status == "pass", healthy.check("cam-energy-avoided").message
    assert healthy.check("cam-energy-avoided").value < 1
    assert healthy.check("cam-energy-inside").status == "pass"

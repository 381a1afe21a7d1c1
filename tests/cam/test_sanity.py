"""The model-randomisation check: maps must change when the weights do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector import open_model
from inspector.cam import prepare
from inspector.cam.sanity import randomise, shuffle_model
from inspector.errors import UsageError
from tests.cam.nets import CHANNELS, Array, node, normal, picture, save_net, trunk

CLASSES = 5


def deep(path: Path, rng: np.random.Generator, curved: bool = False) -> Path:
    nodes, weights = trunk(rng)
    nodes += [
        node("GlobalAveragePool", "maps", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w1 b1", "hidden", transB=1),
        node("Relu" if curved else "Identity", "hidden", "active"),
        node("Gemm", "active w2", "logits", transB=1),
    ]
    weights |= {"w1": normal(rng, 80, CHANNELS), "b1": normal(rng, 80), "w2": normal(rng, CLASSES, 80)}
    return save_net(path, nodes, weights, outputs={"logits": ["N", CLASSES]})


def flat(array: Array) -> list[float]:
    return sorted(np.asarray(array).reshape(-1).tolist())


def test_a_shuffled_copy_has_the_same_numbers_in_other_places(tmp_path: Path, rng: np.random.Generator) -> None:
    model = open_model(deep(tmp_path / "m.onnx", rng))
    with shuffle_model(model, ["w2"], seed=1) as other:
        path = other.path
        assert path.exists()
        assert flat(other.graph.weight("w2")) == flat(model.graph.weight("w2"))
        assert not np.array_equal(other.graph.weight("w2"), model.graph.weight("w2"))
        for name in ("k", "kb", "w1", "b1"):
            assert np.array_equal(other.graph.weight(name), model.graph.weight(name))
        assert not np.allclose(other.scores(picture(rng)), model.scores(picture(rng)))
    assert not path.exists()
    with shuffle_model(model, seed=1) as one, shuffle_model(model, seed=1) as two:
        for name in ("k", "w1", "w2"):
            assert not np.array_equal(one.graph.weight(name), model.graph.weight(name))
            assert np.array_equal(one.graph.weight(name), two.graph.weight(name))
        assert np.array_equal(one.graph.weight("b1"), model.graph.weight("b1"))
    with pytest.raises(UsageError, match="no weights behind this layer"), shuffle_model(model, []):
        pass


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "ablationcam"])
@pytest.mark.parametrize("part", ["head", "all"])
def test_maps_of_shuffled_weights_differ(
    part: str, method: str, curved: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    engine = prepare(open_model(deep(tmp_path / "m.onnx", rng, curved)), method)
    x = picture(rng)
    similar = []
    for seed in range(6):
        for found in randomise(engine, x, classes=[0, 3], part=part, seed=seed):  # type: ignore[arg-type]
            assert found.before.target.index == found.after.target.index
            similar.append(found.similarity)
    assert min(similar) < 0.5
    assert abs(np.mean(similar)) < 0.6
    assert np.array_equal(engine.maps(x, classes=[0])[0].raw, randomise(engine, x, classes=[0])[0].before.raw)


def test_a_linear_head_is_shuffled_in_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    model = open_model(deep(tmp_path / "m.onnx", rng))
    engine = prepare(model, "cam")
    x = picture(rng)
    [found] = randomise(engine, x, classes=[2], seed=3)
    maps = model.run(x, ["maps"])["maps"][0]
    other = np.random.default_rng(3)
    by_order = {n: other.permutation(model.graph.weight(n).reshape(-1)) for n in engine.heads[0].weights}
    weights = by_order["w2"].reshape(CLASSES, 80)[2] @ by_order["w1"].reshape(80, CHANNELS)
    wanted = np.einsum("c,chw->hw", weights, maps)
    assert np.abs(found.after.raw - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_a_map_that_ignores_the_head_is_told_by_its_similarity(tmp_path: Path, rng: np.random.Generator) -> None:
    engine = prepare(open_model(deep(tmp_path / "m.onnx", rng)), "eigencam")
    [found] = randomise(engine, picture(rng), part="head")
    assert found.similarity == pytest.approx(1)


def test_other_outputs_are_shuffled_too(tmp_path: Path, rng: np.random.Generator) -> None:
    engine = prepare(open_model(deep(tmp_path / "m.onnx", rng, curved=True)), "gradcam", output="active:7")
    [found] = randomise(engine, picture(rng), part="all")
    assert found.after.target.label == "active:7"

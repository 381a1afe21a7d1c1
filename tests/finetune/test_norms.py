"""Norms for the joint phase: they change nothing when they begin, nothing when they are folded, and learn between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporters import finetuning
from exporters.finetuning.network import TrainableNetwork, build_network
from exporters.finetuning.norms import find_weight, fold_state
from exporters.finetuning.train import Trainer
from exporters.planning.boundary import place_boundary
from exporters.planning.head import find_classifier_head
from exporters.planning.places import place_norms
from inspector import open_model
from inspector.errors import UsageError
from tests.conftest import require
from tests.finetune.conftest import small_base
from tests.finetune.test_run import metrics, tune, weights
from tests.foreign import Net

torch = require("torch")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def network_of(path: Path, norms: str = "batch") -> tuple[TrainableNetwork, Any]:
    model = open_model(path)
    head = find_classifier_head(model)
    cut = place_boundary(model, head, unfreeze_last=2)
    return build_network(model.graph, head, cut, (1, 3, 16, 16), 0.0, norms), cut


def batches(count: int, seed: int = 0, scale: float = 3.0) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    return [(scale * torch.randn(16, 8, 16, 16, generator=generator) + 1,) for _ in range(count)]


@pytest.mark.parametrize("norm", [False, True])
def test_nothing_changes_when_they_begin_and_when_they_are_folded(tmp_path: Path, norm: bool) -> None:
    path = small_base(tmp_path / "b.onnx", norm=norm)
    plain, _ = network_of(path, "kept")
    network, _ = network_of(path)
    data = batches(4)
    network.begin_norms(data)
    plain.eval(), network.eval()
    [x] = data[0]
    torch.testing.assert_close(network(x), plain(x), rtol=1e-4, atol=1e-4)
    assert len(network.trained()) == len(plain.trained()) + 4

    # Training moves them; the digest of what is frozen does not count them.
    digest = network.frozen_digest()
    network.train()
    optimiser = torch.optim.SGD(network.trained().values(), lr=0.02)
    for (values,) in data:
        optimiser.zero_grad()
        network(values).square().mean().backward()
        optimiser.step()
    network.eval()
    state, scores = network.state(), network(x).detach()
    assert (scores - plain(x)).abs().max() > 0.05
    assert network.frozen_digest() == digest
    network.fold()
    torch.testing.assert_close(network(x), scores, rtol=1e-4, atol=1e-4)
    assert {n: a.shape for n, a in network.arrays().items()} == {n: tuple(p.shape) for n, p in plain.trained().items()}
    plain.load(fold_state(state))
    torch.testing.assert_close(plain(x), scores, rtol=1e-4, atol=1e-4)


def test_while_it_trains_it_is_torchs_batch_norm(tmp_path: Path) -> None:
    network, _ = network_of(small_base(tmp_path / "b.onnx"))
    network.begin_norms(batches(2))
    [norm, *_] = network.norms._each
    other = torch.nn.BatchNorm2d(8)
    with torch.no_grad():
        other.weight.copy_(norm.gain), other.bias.copy_(norm.offset)
        other.running_mean.copy_(norm.mean), other.running_var.copy_(norm.variance)
    norm.train(), other.train()
    for (x,) in batches(3, seed=7):
        assert torch.equal(norm(x), other(x))
    norm.eval(), other.eval()
    assert torch.equal(norm(x), other(x))
    assert torch.equal(norm.mean, other.running_mean)


def test_what_it_measures_is_the_statistics_of_what_passes(tmp_path: Path) -> None:
    network, _ = network_of(small_base(tmp_path / "b.onnx"))
    data = batches(5)
    [norm, *_] = network.norms._each
    seen = []
    real = norm.measure
    norm.measure = lambda values: (seen.append(values), real(values))[1]
    network.begin_norms(data)
    values = torch.cat(seen).double()
    torch.testing.assert_close(norm.mean.double(), values.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.variance.double(), values.var((0, 2, 3), unbiased=False), rtol=1e-5, atol=1e-6)


def test_places(tmp_path: Path) -> None:
    """With a bias of its own, or behind the norm that follows; not where a weight is shared or no bias takes it."""
    net = Net()
    x = net.input("x", ("N", 3, 16, 16))
    shared = net.weight((8, 8, 3, 3), "shared")
    a = net("Relu", net.conv(x, 3, 8))
    b = net("Relu", net.bn(net.conv(a, 8, 8), 8))
    c = net("Conv", b, shared, net.weight((8,)), kernel_shape=[3, 3], pads=[1] * 4)
    d = net("Conv", c, shared, net.weight((8,)), kernel_shape=[3, 3], pads=[1] * 4)
    e = net("Conv", d, net.weight((8, 8, 3, 3)), kernel_shape=[3, 3], pads=[1] * 4)
    statistics = [net.weight((8,)) for _ in range(4)]
    e = net("BatchNormalization", e, *statistics, training_mode=1)
    path = tmp_path / "m.onnx"
    path.write_bytes(net.model(net("Flatten", net("GlobalAveragePool", e))).SerializeToString())
    graph = open_model(path).graph
    places = place_norms(graph, 0, len(graph.nodes))
    nodes = [graph.nodes[graph.producer_of[p.tensor]].op_type for p in places]
    assert nodes == ["Conv", "BatchNormalization"]
    key = places[0].key("gain")
    assert find_weight(key) == places[0].weight
    assert find_weight(places[0].weight) == places[0].weight


def test_maps_of_one_pixel_stay_without(tmp_path: Path) -> None:
    """The convolutions of a squeeze-and-excite block have never had a norm, and a batch has too few values of them."""
    net = Net()
    x = net.input("x", ("N", 3, 16, 16))
    a = net("Relu", net.conv(x, 3, 8))
    gate = net("Sigmoid", net("Conv", net("GlobalAveragePool", a), net.weight((8, 8, 1, 1)), net.weight((8,))))
    b = net("Relu", net.conv(net("Mul", a, gate), 8, 8))
    pooled = net("Flatten", net("GlobalAveragePool", b))
    path = tmp_path / "m.onnx"
    path.write_bytes(net.model(net("Gemm", pooled, net.weight((8, 7)), net.weight((7,)))).SerializeToString())
    model = open_model(path)
    head = find_classifier_head(model)
    cut = place_boundary(model, head, unfreeze_last=2)
    network = build_network(model.graph, head, cut, (1, 3, 16, 16), 0.0, "batch")
    assert len(cut.tensors) == 2
    network.begin_norms((x, x.mean((2, 3), keepdim=True)) for (x,) in batches(2))
    assert [norm.on for norm in network.norms._each] == [False, True]
    assert len(network.norms.learned()) == 2


@pytest.mark.parametrize("norm", [False, True])
def test_a_run_with_them_ships_the_graph_it_began_with(
    digits: Path, cache: Path, tmp_path: Path, norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = small_base(tmp_path / "base.onnx", norm=norm)
    more = {"norms": "batch", "average": 0.9, "joint_rate": 1e-2, "joint_epochs": 4}
    made = tune(digits, base, tmp_path / "run", cache, **more)
    assert "others behind the unfrozen convolutions in the joint phase, folded into them in the end" in made.plan.norms
    assert made.frozen_unchanged
    assert made.best["phase"] == "joint"
    assert made.best["accuracy"] > 0.8
    before, after = open_model(made.run / "base.onnx").graph, open_model(made.model).graph
    assert [n.op_type for n in after.nodes] == [n.op_type for n in before.nodes]
    assert {n: t.dims for n, t in after.initializers.items()} == {n: t.dims for n, t in before.initializers.items()}
    changed = [n for n, a in weights(made.model).items() if not np.array_equal(a, weights(made.run / "base.onnx")[n])]
    assert 0 < len(changed) < len(after.initializers)
    whole = finetuning.export_run(made.run, tmp_path / "again.onnx")
    assert whole.sha256 == made.sha256

    # The last checkpoint has them apart, and goes on or becomes a file as well.
    real = Trainer._epoch

    def epoch(self: Any, *given: Any) -> Any:
        if len(self.state.history) == 6:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    with pytest.raises(KeyboardInterrupt):
        tune(digits, base, tmp_path / "stopped", cache, **more)
    monkeypatch.undo()
    last = finetuning.export_run(tmp_path / "stopped" / "checkpoints" / "last.safetensors", tmp_path / "last.onnx")
    assert last.graph.initializers.keys() == after.initializers.keys()
    again = tune(digits, base, tmp_path / "stopped", cache, resume=True, **more)
    assert metrics(again.run) == metrics(made.run)
    assert again.sha256 == made.sha256


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"norms": "batch", "devices": 2}, "norms batch goes by whole batches, and 2 devices share one"),
        ({"norms": "batch", "batch": 3}, "norms batch needs batches of 4 pictures or more, not 3"),
        ({"norms": "batch", "joint_epochs": 0}, "norms batch is for the joint phase, and joint_epochs is 0"),
        ({"norms": "groups"}, "there is no norms 'groups'; known: kept, batch"),
    ],
)
def test_what_it_cannot_do_is_refused(
    digits: Path, base: Path, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        finetuning.finetune(digits, base, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_a_base_without_places_for_them_is_refused(digits: Path, tmp_path: Path) -> None:
    net = Net()
    x = net.input("x", ("N", 3, 16, 16))
    a = net("Relu", net("Conv", x, net.weight((8, 3, 3, 3)), kernel_shape=[3, 3], pads=[1] * 4))
    pooled = net("Flatten", net("GlobalAveragePool", a))
    path = tmp_path / "m.onnx"
    path.write_bytes(net.model(net("Gemm", pooled, net.weight((8, 7)), net.weight((7,)))).SerializeToString())
    with pytest.raises(UsageError, match="there is no convolution with a bias and no norm"):
        finetuning.finetune(digits, path, tmp_path / "run", norms="batch", cache=tmp_path / "cache")


def test_settled_statistics_are_those_of_the_pictures_given(tmp_path: Path) -> None:
    """What ran along is of other pictures and weights; what is judged goes by statistics of its own."""
    network, _ = network_of(small_base(tmp_path / "b.onnx"))
    network.begin_norms(batches(2))
    [first, *_] = network.norms._each
    for norm in network.norms._each:
        norm.mean.fill_(5.0), norm.variance.fill_(9.0)
    data = batches(3, seed=4, scale=1.0)
    seen = []
    real = first.measure
    first.measure = lambda values: (seen.append(values), real(values))[1]
    network.settle_norms(data)
    values = torch.cat(seen)
    torch.testing.assert_close(first.mean, values.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.variance, values.var((0, 2, 3), unbiased=False), rtol=1e-4, atol=1e-5)
    network.eval()
    out = first(values)
    torch.testing.assert_close(out.mean((0, 2, 3)), first.offset.detach(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(out.std((0, 2, 3)), first.gain.detach(), rtol=1e-2, atol=1e-3)


def test_a_short_last_batch_goes_by_the_running_statistics(tmp_path: Path) -> None:
    network, _ = network_of(small_base(tmp_path / "b.onnx"))
    network.begin_norms(batches(2))
    [norm, *_] = network.norms._each
    norm.train()
    [(x,)] = batches(1, seed=5)
    before = norm.mean.clone()
    short = norm(x[:3])
    assert torch.equal(norm.mean, before)
    norm.eval()
    assert torch.equal(norm(x[:3]), short)

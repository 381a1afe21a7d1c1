"""Tokens are places of the picture in a row; attention is not; a graph may have been traced with several pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inspector import Model, open_model
from inspector.cam import class_activation_maps, prepare
from inspector.errors import NotComputable
from inspector.layers import TokenGrid, find_token_grid
from inspector.model.annotate import annotate_model
from inspector.pages.live.maps import describe_maps
from inspector.reverse.head import find_bottlenecks, find_head

torch = pytest.importorskip("torch")
nn = torch.nn

# The older exporter writes the number of pictures that it traced with into the graph's constants.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


class Transformer(nn.Module):
    """Patches, a class token, one block; the scores come from the mean of all tokens, or from the class token."""

    def __init__(self, pool: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.patches = nn.Conv2d(3, 24, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.norm = nn.LayerNorm(24)
        self.mix = nn.Linear(24, 72)
        self.out = nn.Linear(24, 24)
        self.head = nn.Linear(24, 5)
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        n = x.shape[0]
        x = torch.cat([self.token.expand(n, -1, -1), x], 1)
        y = self.norm(x)
        q, k, v = self.mix(y).reshape(n, -1, 3, 3, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, -1, 24))
        return self.head(x.mean(1) if self.pool else x[:, 0])


def make(path: Path, batch: int, pool: bool = False) -> tuple[Transformer, Model]:
    net = Transformer(pool).eval()
    torch.onnx.export(net, torch.randn(batch, 3, 48, 64), path, dynamo=False, opset_version=17)
    return net, open_model(path)


def expected(net: Transformer, module: nn.Module, x: np.ndarray, target: int) -> dict[str, np.ndarray]:
    """Grad-CAM and HiResCAM of the places' tokens, by torch's own hooks and gradients."""
    kept: list[torch.Tensor] = []
    hook = module.register_forward_hook(lambda _m, _i, o: kept.append(o))
    score = net(torch.from_numpy(x))[0, target]
    hook.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    a, g = (t[0, 1:].T.reshape(-1, 6, 8).detach().double().numpy() for t in (kept[0], gradient))
    return {"gradcam": np.einsum("c,chw->hw", g.mean((1, 2)), a), "hirescam": (g * a).sum(0)}


@pytest.mark.parametrize("backend", ["onnx", "twin"])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_tokens_are_maps_without_the_class_token(batch: int, pool: bool, backend: str, tmp_path: Path) -> None:
    net, model = make(tmp_path / "m.onnx", batch, pool)
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 64)).astype(np.float32)
    wanted = expected(net, net.norm, x, 2)
    for method, raw in wanted.items():
        [found] = class_activation_maps(model, x, classes=[2], method=method, layer="norm", backend=backend)
        assert found.shape == (6, 8)
        assert np.abs(found.raw - raw).max() < 1e-5 * np.abs(raw).max()


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "reciprocam", "scorecam", "eigencam"])
def test_a_graph_that_was_traced_with_two_pictures_gives_the_maps_of_one(method: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 64)).astype(np.float32)
    for layer in (None, "norm"):
        one, two = (
            class_activation_maps(make(tmp_path / f"{n}.onnx", n)[1], x, classes=[1], method=method, layer=layer)[0]
            for n in (1, 2)
        )
        assert np.abs(one.raw - two.raw).max() < 1e-4 * np.abs(one.raw).max()


def test_replaced_tokens_keep_the_class_token(tmp_path: Path) -> None:
    """Recipro-CAM of a place: the score with the class token and that place alone, less that with the class token."""
    net, model = make(tmp_path / "m.onnx", 1)
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 64)).astype(np.float32)
    [found] = class_activation_maps(model, x, classes=[2], method="reciprocam", layer="norm")
    kept = [-1]

    def mask(_m: nn.Module, _i: object, o: torch.Tensor) -> torch.Tensor:
        chosen = torch.zeros_like(o)
        chosen[:, 0] = o[:, 0]
        if kept[0] >= 0:
            chosen[:, 1 + kept[0]] = o[:, 1 + kept[0]]
        return chosen

    net.norm.register_forward_hook(mask)
    scores = []
    for place in (-1, 0, 13, 47):
        kept[0] = place
        with torch.no_grad():
            scores.append(float(net(torch.from_numpy(x))[0, 2]))
    wanted = np.array(scores[1:]) - scores[0]
    assert np.abs(found.raw.reshape(-1)[[0, 13, 47]] - wanted).max() < 1e-5


@pytest.mark.parametrize(("pool", "wanted"), [(False, "norm"), (True, "add")])
def test_the_last_tokens_whose_places_count_are_chosen(pool: bool, wanted: str, tmp_path: Path) -> None:
    """Behind the attention only the class token goes on, or all tokens go into the mean: autograd says which."""
    net, model = make(tmp_path / "m.onnx", 1, pool)
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 64)).astype(np.float32)
    assert expected(net, net.norm, x, 2)["hirescam"].any()
    assert expected(net, net.out, x, 2)["hirescam"].any() == pool
    engine = prepare(model)
    assert [layer.name for layer in engine.layers] == [wanted]
    assert engine.reason.startswith("the last tokens (6x8) whose places the scores still depend on")
    [found] = engine.maps(x, classes=[2])
    assert found.raw.shape == (6, 8)
    assert found.raw.any()
    notes: list[str] = []
    shapes = [(24, 6, 8)] * len(model.layers)
    described, methods = describe_maps(model, model.layers, shapes, notes)
    assert described is not None
    assert model.layers[described["layer"]].name == wanted
    assert methods == ("eigencam",)
    assert f"{wanted} holds tokens" in notes[0]


def test_what_all_passes_through_is_found_in_one_go(tmp_path: Path) -> None:
    """The tensors that all passes through, against the head of each."""
    _, model = make(tmp_path / "m.onnx", 1)
    output = model.graph.outputs[0]
    names = sorted(model.graph.from_picture)
    wanted = {name for name in names if name != output and find_head(model.graph, name, output).bottleneck}
    assert find_bottlenecks(model.graph, output) - {output} == wanted
    assert len(wanted) > 5


def test_attention_is_no_picture(tmp_path: Path) -> None:
    _, model = make(tmp_path / "m.onnx", 1)
    x = np.zeros((1, 3, 48, 64), np.float32)
    with pytest.raises(NotComputable, match=r"'softmax' is attention of tokens to tokens, .*patches"):
        class_activation_maps(model, x, layer="softmax")
    with pytest.raises(NotComputable, match=r"layer 'softmax' has no maps"):
        annotate_model(model, tmp_path / "said.onnx", cam_layer="softmax")
    said = annotate_model(model, tmp_path / "said.onnx", cam_layer="patches")
    assert [layer.name for layer in prepare(said).layers] == ["patches"]
    said = annotate_model(model, tmp_path / "tokens.onnx", cam_layer="mix")
    assert [layer.name for layer in prepare(said).layers] == ["mix"]


def test_the_grid_is_that_of_the_maps_before(tmp_path: Path) -> None:
    _, model = make(tmp_path / "m.onnx", 1)
    norm = replace(model.layer("norm"), shape=(1, 24, 49))
    assert find_token_grid(model.layers, norm) == TokenGrid(6, 8, 1)
    assert find_token_grid(model.layers, replace(norm, shape=(1, 24, 48))) == TokenGrid(6, 8, 0)
    assert find_token_grid(model.layers, replace(norm, shape=(1, 24, 77))) is None
    assert find_token_grid(model.layers, model.layer("patches")) is None
    assert find_token_grid(model.layers, model.layer("head")) is None

"""Networks that fix their size and their batch in Reshape: transformers, in windows and not."""

from __future__ import annotations

import pytest

from tests.conftest import require

torch = require("torch")

from inspector import Model, open_model  # noqa: E402
from inspector.ascent import FilterOptions, Network, find_recipe, settle_filters  # noqa: E402
from tests.layers.families import Windows, export, randomise  # noqa: E402


@pytest.fixture(scope="module", params=[1, 2])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("fixed") / "m.onnx"
    return open_model(export(randomise(Windows(16)), torch.randn(request.param, 3, 96, 96), path))


@pytest.mark.parametrize("recipe", ["clear", "lecture"])
def test_the_canvas_falls_back_to_the_networks_own_size(model: Model, recipe: str) -> None:
    spec = settle_filters(model, model.layer("inner"), FilterOptions(recipe=find_recipe(recipe), channels=(0, 1)))
    assert spec.size == (96, 96)


def test_pictures_of_one_batch_do_not_change_each_other(model: Model) -> None:
    """Attention over a Reshape to (1, -1, C) would mix the tokens of several pictures."""
    layers = [model.layer(name) for name in ("norm", "inner", "out")]
    network = Network(model, layers)
    pictures = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(0), requires_grad=True)
    together = network(pictures)
    for n in range(3):
        alone = Network(model, layers)(pictures[n : n + 1].detach())
        for name, value in alone.items():
            assert torch.allclose(together[name][n], value[0], atol=1e-4), name
    (gradient,) = torch.autograd.grad(together["out"][1].sum(), pictures)
    assert gradient[1].abs().max() > 0
    assert gradient[[0, 2]].abs().max() == 0

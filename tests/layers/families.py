"""What a torch module's own hooks say of its layers, held against what is read out of its .onnx file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inspector import open_model
from tests.conftest import require

torch = require("torch")
nn = torch.nn

SIDE, WINDOW, WIDTH = 6, 3, 12
"""Of `Windows`: places and those of a window on a side, and channels."""


class Windows(nn.Module):
    """Patches, a class token, one block of attention over all; then attention inside shifted windows, and a head."""

    def __init__(self, patch: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.inner = nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(2 * WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Any) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        n = x.shape[0]
        x = torch.cat([self.token.expand(n, -1, -1), x], 1)
        q, k, v = self.qkv(self.norm(x)).reshape(n, -1, 3, 3, WIDTH // 3).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).reshape(n, -1, WIDTH)
        places = torch.roll(x[:, 1:].reshape(n, SIDE, SIDE, WIDTH), (-1, -2), (1, 2))
        k = SIDE // WINDOW
        cut = places.reshape(n, k, WINDOW, k, WINDOW, WIDTH).transpose(2, 3).reshape(-1, WINDOW * WINDOW, WIDTH)
        cut = self.out(torch.relu(self.inner(cut)))
        places = cut.reshape(n, k, k, WINDOW, WINDOW, WIDTH).transpose(2, 3).reshape(n, SIDE, SIDE, WIDTH)
        return self.head(torch.roll(places, (1, 2), (1, 2)).mean((1, 2)) + x[:, 0])


@dataclass(frozen=True)
class Hooked:
    """The output of one module: (1, ...) or (windows, ...), and the axis that its kind says holds the channels."""

    value: np.ndarray
    axis: int

    def rows(self) -> np.ndarray:
        """(C, everything else in its order)."""
        return np.moveaxis(self.value, self.axis, 0).reshape(self.value.shape[self.axis], -1)


def axis_of(module: Any, value: Any) -> int | None:
    """Where a module puts its channels, by what it is; None for one of which its kind does not say it."""
    name = type(module).__name__
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.GroupNorm) or name.startswith(
        ("LayerNorm2d", "BatchNormAct2d")
    ):
        return 1 if value.ndim > 2 else None
    if isinstance(module, nn.LayerNorm):
        return value.ndim - 1 if len(module.normalized_shape) == 1 else None
    return value.ndim - 1 if isinstance(module, nn.Linear) else None


def hook_all(net: Any, x: Any) -> dict[str, list[Hooked]]:
    """Module path -> its outputs, one for each time it is called. Activations have their axis from what feeds them."""
    found: dict[str, list[Hooked]] = {}
    axes: dict[int, tuple[Any, int]] = {}

    def keep(path: str) -> Any:
        def hook(module: Any, given: Any, value: Any) -> None:
            if not isinstance(value, torch.Tensor) or value.ndim < 3:
                return
            axis = axis_of(module, value)
            if axis is None and given and isinstance(given[0], torch.Tensor) and not list(module.children()):
                before = axes.get(id(given[0]))
                unary = given[0].shape == value.shape and not list(module.parameters())
                axis = before[1] if before is not None and before[0] is given[0] and unary else None
            if axis is not None:
                axes[id(value)] = (value, axis)
                found.setdefault(path, []).append(Hooked(value.detach().numpy().copy(), axis))

        return hook

    hooks = [m.register_forward_hook(keep(path)) for path, m in net.named_modules() if path]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return found


def randomise(net: Any) -> Any:
    """Weights that leave no two channels alike, also where a network begins as the identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim < 2:
                low = 0.5 if "weight" in name or "gamma" in name or "scale" in name else -0.2
                parameter.copy_(low + 0.5 * torch.rand(parameter.shape, generator=generator))
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return net.eval()


def export(net: Any, x: Any, path: Path, dynamo: bool = False, **options: Any) -> Path:
    """The .onnx file of a network."""
    torch.backends.mha.set_fastpath_enabled(False)  # of which the older exporter knows nothing
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), path, dynamo=dynamo, opset_version=18 if dynamo else 17, **options)
    return path


@dataclass(frozen=True)
class Comparison:
    """How the layers of a file compare with the modules of the network.

    compared: how many were held against a hook; wrong: what was not as the hook says.
    """

    compared: int
    wrong: tuple[str, ...]


def compare(net: Any, size: int, path: Path, dynamo: bool = False) -> Comparison:
    """Hold every layer that goes by the name of a hooked module against it: channel axis, shape and values."""
    net = randomise(net)
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    hooked = hook_all(net, x)
    model = open_model(export(net, x, path, dynamo))
    chosen = [layer for layer in model.layers if any(name in hooked for name in (layer.name, *layer.aliases))]
    values, _ = model.layer_values(x.numpy(), chosen)
    wrong, compared = [], 0
    for layer in chosen:
        value = values[layer.name]
        rivals = [one for name in (layer.name, *layer.aliases) for one in hooked.get(name, ())]
        rivals = [one for one in rivals if one.value.size == value.size]
        found = value[0].reshape(value.shape[1], -1) if len(value) == 1 else value.reshape(len(value), -1)
        compared += bool(rivals)
        if rivals and not any(matches(found, one) for one in rivals):
            one = rivals[0]
            wrong.append(f"{layer.name} {layer.shape} against {one.value.shape}, channels on axis {one.axis}")
        elif rivals and layer.channels != found.shape[0]:
            wrong.append(f"{layer.name} is said to have {layer.channels} channels, not {found.shape[0]}")
    return Comparison(compared, tuple(wrong))


def matches(found: np.ndarray, one: Hooked) -> bool:
    """Whether both hold the same rows, each up to a factor and a shift: a norm may be folded into its convolution."""
    rows = one.rows()
    if rows.shape != found.shape:
        return False
    if np.abs(rows - found).max() <= 1e-3 * np.abs(rows).max():
        return True
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (rows.astype(np.float64), found.astype(np.float64)))
    sizes = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    # Where a row hardly changes, what is left without its mean is rounding.
    told = (sizes[0] > 1e-3 * np.linalg.norm(rows, axis=1)) & (sizes[1] > 1e-3 * np.linalg.norm(found, axis=1))
    alike = np.abs((a * b).sum(axis=1)[told]) / (sizes[0] * sizes[1])[told]
    return bool((alike > 0.999).all())

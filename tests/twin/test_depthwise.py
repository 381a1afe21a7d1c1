"""Depthwise convolutions with wide kernels: what they give and all gradients are those of torch's own convolution."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.conftest import require

torch = require("torch")

from inspector.twin.operators.depthwise import _Depthwise, conv2d  # noqa: E402

CASES = [
    # channels, height, width, kernel, stride, pads
    (8, 14, 14, (5, 5), (1, 1), (2, 2)),
    (8, 15, 12, (5, 5), (2, 2), (2, 2)),
    (8, 9, 13, (7, 7), (1, 1), (3, 3)),
    (8, 9, 13, (3, 4), (2, 3), (0, 1)),
    (8, 6, 5, (2, 5), (1, 1), (0, 0)),
    (8, 7, 7, (5, 6), (3, 2), (4, 5)),
    (3, 20, 20, (9, 9), (4, 3), (0, 6)),
    (8, 1, 1, (7, 7), (1, 1), (3, 3)),
    (8, 2, 2, (7, 7), (1, 1), (3, 3)),
    (4, 3, 1, (9, 9), (2, 2), (4, 4)),
    (4, 3, 2, (5, 5), (5, 5), (4, 4)),
]


def _case(channels: int, height: int, width: int, kernel: tuple[int, int], layout: Any, dtype: Any) -> list[Any]:
    torch.manual_seed(0)
    x = torch.randn(3, channels, height, width, dtype=dtype).contiguous(memory_format=layout)
    weight, bias = torch.randn(channels, 1, *kernel, dtype=dtype), torch.randn(channels, dtype=dtype)
    return [t.requires_grad_() for t in (x, weight, bias)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[3][0]}x{c[3][1]} on {c[1]}x{c[2]}")
def test_values_and_gradients_are_those_of_torch(case: Any, layout: Any) -> None:
    channels, height, width, kernel, stride, pads = case
    leaves = _case(channels, height, width, kernel, layout, torch.float32)
    ours = conv2d(*leaves, stride, pads, (1, 1), channels)
    theirs = torch.nn.functional.conv2d(*leaves, stride, pads, (1, 1), channels)
    assert "Depthwise" in type(ours.grad_fn).__name__
    assert torch.equal(ours, theirs)
    seed = torch.randn_like(theirs)
    for found, wanted in zip(
        torch.autograd.grad(ours, leaves, seed), torch.autograd.grad(theirs, leaves, seed), strict=True
    ):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("case", CASES[:4], ids=lambda c: "x".join(map(str, c[3])))
def test_gradients_and_their_gradients_agree_with_finite_differences(case: Any) -> None:
    _, height, width, kernel, stride, pads = case
    leaves = _case(1, height, width, kernel, torch.contiguous_format, torch.float64)
    leaves[0] = leaves[0][:1].detach().requires_grad_()

    def convolve(x: Any, weight: Any, bias: Any) -> Any:
        return _Depthwise.apply(x, weight, bias, stride, pads)

    assert torch.autograd.gradcheck(convolve, leaves)
    assert torch.autograd.gradgradcheck(convolve, leaves)


def test_a_gradient_for_each_picture_by_vmap() -> None:
    x, weight, bias = (t.detach() for t in _case(4, 8, 8, (5, 5), torch.contiguous_format, torch.float32))

    def loss(w: Any, picture: Any) -> Any:
        return _Depthwise.apply(picture[None], w, bias, (1, 1), (2, 2)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, x)
    for k, picture in enumerate(x):
        torch.testing.assert_close(each[k], torch.func.grad(loss)(weight, picture), rtol=1e-4, atol=1e-3)


def test_without_a_bias_and_where_only_the_weights_learn() -> None:
    x, weight, _ = _case(4, 8, 8, (5, 5), torch.contiguous_format, torch.float32)
    (found,) = torch.autograd.grad(conv2d(x.detach(), weight, None, (1, 1), 2, (1, 1), 4).square().sum(), weight)
    theirs = torch.nn.functional.conv2d(x.detach(), weight, None, 1, 2, 1, 4)
    (wanted,) = torch.autograd.grad(theirs.square().sum(), weight)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("learns", "kernel", "groups", "dilation"),
    [(False, 5, 4, 1), (True, 3, 4, 1), (True, 5, 1, 1), (True, 5, 2, 1), (True, 5, 4, 2), (True, 11, 4, 1)],
    ids=["frozen", "narrow", "dense", "grouped", "dilated", "huge"],
)
def test_all_other_convolutions_are_torchs(learns: bool, kernel: int, groups: int, dilation: int) -> None:
    x = torch.randn(1, 4, 12, 12, requires_grad=True)
    weight = torch.randn(4, 4 // groups, kernel, kernel, requires_grad=learns)
    found = conv2d(x, weight, None, (1, 1), (2, 2), (dilation, dilation), groups)
    assert "Depthwise" not in type(found.grad_fn).__name__
    with torch.no_grad():
        assert conv2d(x, weight, None, (1, 1), (2, 2), (dilation, dilation), groups).grad_fn is None


def test_mixed_precision_is_left_to_torch() -> None:
    x, weight, bias = _case(4, 8, 8, (5, 5), torch.contiguous_format, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv2d(x, weight, bias, (1, 1), (2, 2), (1, 1), 4)
    assert found.dtype == torch.bfloat16
    found.sum().backward()
    assert weight.grad is not None


@pytest.mark.filterwarnings("ignore::FutureWarning:torch")  # forward mode compiles its own rules with torch.jit
def test_forward_mode_gives_what_torchs_convolution_gives() -> None:
    x, weight, bias = _case(4, 8, 8, (5, 5), torch.contiguous_format, torch.float32)
    tangents = tuple(torch.randn_like(t) for t in (x, weight, bias))

    def by(convolve: Any) -> Any:
        return lambda *leaves: convolve(*leaves, (1, 1), (2, 2), (1, 1), 4)

    for given in (slice(0, 1), slice(1, 2), slice(0, 3)):
        leaves = [x, weight, bias]

        def partly(convolve: Any, given: slice = given, leaves: list[Any] = leaves) -> Any:
            return lambda *some: by(convolve)(*leaves[: given.start], *some, *leaves[given.stop :])

        own, moved = tuple(leaves[given]), tangents[given]
        found = torch.func.jvp(partly(conv2d), own, moved)
        wanted = torch.func.jvp(partly(torch.nn.functional.conv2d), own, moved)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_traced_module_is_torchs_and_can_be_saved(tmp_path: Any) -> None:
    x, weight, bias = _case(4, 8, 8, (5, 5), torch.contiguous_format, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather see other ways used
        traced = torch.jit.trace(_Plain(weight, bias), x.detach())
        traced.save(str(tmp_path / "traced.pt"))
    torch.testing.assert_close(traced(x), conv2d(x, weight, bias, (1, 1), (2, 2), (1, 1), 4))


class _Plain(torch.nn.Module):
    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(weight.detach()), torch.nn.Parameter(bias.detach())

    def forward(self, x: Any) -> Any:
        return conv2d(x, self.weight, self.bias, (1, 1), (2, 2), (1, 1), 4)

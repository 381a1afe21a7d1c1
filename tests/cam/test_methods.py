"""Each formula against its slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.cam.methods import METHODS, find_method
from inspector.cam.methods.cam import cam
from inspector.cam.methods.eigencam import eigencam
from inspector.cam.methods.gradcam import gradcam
from inspector.cam.methods.gradcampp import SMALL, gradcampp
from inspector.cam.methods.hirescam import hirescam
from inspector.cam.methods.xgradcam import xgradcam
from inspector.errors import NotComputable, UsageError
from tests.cam import reference
from tests.conftest import ROOT

SEEDS = range(4)

ELSEWHERE = {
    "cam": ("test_methods", "test_with_pooled_linear_heads_four_methods_are_one"),
    "gradcam++": ("test_methods", "test_gradcampp_equals_the_paper_with_and_without_the_small_number"),
    "eigencam": ("test_methods", "test_eigencam_is_the_first_principal_projection_up_to_sign"),
    "scorecam": ("test_runs", "test_scorecam"),
    "ablationcam": ("test_runs", "test_ablationcam"),
    "reciprocam": ("test_runs", "test_reciprocam"),
    "drise": ("test_boxes", "test_drise_equals_the_paper"),
}
"""The methods that cannot be compared as all others are, and where they are: (module of tests/cam, test).

Defined for one kind of head alone, with a number of its own, known up to its sign, or in need of a network to run.
"""


def draw(seed: int, shape: tuple[int, int, int] = (9, 4, 5), scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    activation = np.maximum(rng.standard_normal(shape), -0.1).astype(np.float32)
    gradient = (rng.standard_normal(shape) * scale).astype(np.float32)
    return activation, gradient


def near(found: np.ndarray, wanted: np.ndarray, tolerance: float = 2e-6) -> None:
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * max(np.abs(wanted).max(), 1e-300)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ELSEWHERE])
def test_formula_equals_the_paper(name: str, seed: int) -> None:
    method = METHODS[name]
    assert method.needs != "runs", f"compare {name} in tests/cam/test_runs.py and say so in ELSEWHERE"
    slow = getattr(reference, method.formula.__name__, None)
    assert slow is not None, f"write {method.formula.__name__} a second time in tests/cam/reference.py"
    given = draw(seed)[: 2 if method.needs == "gradient" else 1]
    near(method.formula(*given), slow(*(x.astype(np.float64) for x in given)), 1e-5)  # type: ignore[arg-type]


def test_what_is_compared_elsewhere_is_there() -> None:
    assert set(METHODS) >= set(ELSEWHERE)
    for module, test in ELSEWHERE.values():
        assert f"\ndef {test}(" in (ROOT / "tests" / "cam" / f"{module}.py").read_text("utf-8")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_gradcampp_equals_the_paper_with_and_without_the_small_number(seed: int, scale: float) -> None:
    a, g = draw(seed, scale=scale)
    a = np.abs(a)
    for small in (SMALL, 0.0):
        wanted = reference.gradcampp(a.astype(np.float64), g.astype(np.float64), small)
        near(gradcampp(a, g, small), wanted, 1e-5)


def test_gradcampp_of_the_smallest_gradients_is_not_blank() -> None:
    a, g = draw(0, scale=1e-10)
    assert gradcampp(np.abs(a), g).max() > 0


@pytest.mark.parametrize("shape", [(9, 4, 5), (40, 3, 4), (3, 7, 7)])
def test_eigencam_is_the_first_principal_projection_up_to_sign(shape: tuple[int, int, int]) -> None:
    a, _ = draw(3, shape)
    wanted = reference.eigencam(a.astype(np.float64))
    found = eigencam(a)
    assert min(np.abs(found - wanted).max(), np.abs(found + wanted).max()) < 1e-5 * np.abs(wanted).max()


def test_eigencam_agrees_with_the_mean_activation(rng: np.random.Generator) -> None:
    blob = np.zeros((4, 4))
    blob[1, 2] = 5
    a = (np.array([1, 2, 0.5])[:, None, None] * blob + 0.01 * rng.standard_normal((3, 4, 4))).astype(np.float32)
    assert np.unravel_index(eigencam(a).argmax(), (4, 4)) == (1, 2)


def test_eigencam_of_equal_places_is_zero_and_not_noise() -> None:
    a = np.broadcast_to(np.float32([[[0.1]], [[123.456]], [[7e-3]]]), (3, 5, 5)).copy()
    assert not eigencam(a).any()


@pytest.mark.parametrize("shape", [(6, 7, 7), (3, 4, 9)])
def test_with_pooled_linear_heads_four_methods_are_one(shape: tuple[int, int, int]) -> None:
    a, g = draw(1, shape)
    g = np.broadcast_to(g[:, :1, :1], shape)
    wanted = gradcam(a, g)
    for other in (hirescam(a, g), xgradcam(a, g), cam(a, g) / (shape[1] * shape[2])):
        near(other, wanted, 1e-5)


def test_xgradcam_takes_no_quotient_where_the_gradient_is_even() -> None:
    a, g = draw(1)
    a[0] -= a[0].mean()  # sums to rounding only
    even = np.broadcast_to(g[:, :1, :1], g.shape)
    near(xgradcam(a, even), gradcam(a, even), 1e-5)


def test_cam_refuses_a_gradient_that_differs_from_place_to_place() -> None:
    with pytest.raises(NotComputable, match=r"weighs every place of a channel alike.*hirescam"):
        cam(*draw(0))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("gradcam", "gradcam"),
        ("Grad-CAM", "gradcam"),
        ("grad_cam", "gradcam"),
        ("gradcam++", "gradcam++"),
        ("GradCAMpp", "gradcam++"),
        ("Grad-CAM++", "gradcam++"),
        ("gradcamplusplus", "gradcam++"),
        ("Score-CAM", "scorecam"),
        ("XGradCAM", "xgradcam"),
        ("hi-res cam", "hirescam"),
    ],
)
def test_methods_go_by_several_spellings(name: str, method: str) -> None:
    assert find_method(name) is METHODS[method]


def test_unknown_method_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"there is no method 'gradkam'; nearest: gradcam, .*known: cam, gradcam"):
        find_method("gradkam")


def test_every_method_has_its_paper_and_its_formula() -> None:
    assert list(METHODS) == [
        "cam", "gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "eigencam", "scorecam", "ablationcam",
        "reciprocam", "drise",
    ]  # fmt: skip
    for method in METHODS.values():
        assert method.paper
        assert "=" in (method.formula.__doc__ or "").splitlines()[0], method.name


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_eigencam_of_values_that_are_not_finite_is_empty(bad: float) -> None:
    activation = np.ones((4, 3, 3), np.float32)
    activation[1, 2, 0] = bad
    assert not METHODS["eigencam"].formula(activation).any()  # type: ignore[attr-defined]

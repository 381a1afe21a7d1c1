"""Parametrisations, transforms, regularisers and optimisers: their mathematics."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import require

torch = require("torch")

from inspector.ascent import (  # noqa: E402
    Adam,
    Ascent,
    Fourier,
    Phase,
    Pixels,
    blur,
    compose,
    jitter,
    l2,
    make_generator,
    pad,
    rotate,
    scale,
    total_variation,
)
from inspector.ascent.optimise import normalise_gradient, scale_to_unit  # noqa: E402
from inspector.ascent.sampling import OrderedSample  # noqa: E402
from inspector.ascent.spectrum import COLOR, DECORRELATED, compute_frequencies, compute_natural_magnitude  # noqa: E402


def noise(*shape: int, seed: int = 0):  # type: ignore[no-untyped-def]
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- Fourier ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 16), (15, 20), (21, 13)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fourier_gives_real_pictures_of_any_size(size: tuple[int, int], channels: int) -> None:
    canvas = Fourier.noise(size, channels, [make_generator(0), make_generator(1)])
    pictures = canvas.pictures().detach()
    assert pictures.shape == (2, channels, *size)
    assert pictures.dtype == torch.float32
    assert 0 < float(pictures.min()) < float(pictures.max()) < 1


@pytest.mark.parametrize("size", [(24, 24), (25, 18)])
def test_a_picture_comes_back_from_its_coefficients(size: tuple[int, int]) -> None:
    pictures = 0.1 + 0.8 * noise(2, 3, *size)
    assert torch.allclose(Fourier.of(pictures).pictures(), pictures, atol=1e-5)
    assert torch.allclose(Phase.of(pictures).pictures(), pictures, atol=1e-5)


@pytest.mark.parametrize("decay", [1.0, 1.25])
def test_the_spectrum_falls_as_it_should(decay: float) -> None:
    size = (64, 64)
    generators = [make_generator(n) for n in range(64)]
    components = Fourier.noise(size, 3, generators, strength=100, decay=decay).components().detach()
    power = torch.fft.rfft2(components, norm="ortho").abs().square().mean((0, 1)).numpy()
    frequency = compute_frequencies(*size)
    inside = (frequency > 0.05) & (frequency < 0.5)
    inside[:, 0] = inside[:, -1] = False
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-2 * decay, abs=0.1)
    # Coefficients of standard deviation 1 give components of standard deviation 1.
    assert float(components.std()) == pytest.approx(1, rel=0.15)


def test_colors_correlate_as_in_photographs() -> None:
    # Columns of a square root of a covariance by its eigenvectors are orthogonal, the first is lightness.
    products = COLOR.T @ COLOR
    assert np.abs(products - np.diag(np.diag(products))).max() < 0.02 * products.max()
    assert (COLOR[:, 0] > 0.25).all()
    assert np.linalg.norm(DECORRELATED, axis=0).max() == pytest.approx(1)
    pictures = Fourier.noise((48, 48), 3, [make_generator(n) for n in range(16)], strength=30).pictures().detach()
    found = np.corrcoef(torch.logit(pictures).permute(1, 0, 2, 3).reshape(3, -1).numpy())
    covariance = DECORRELATED @ DECORRELATED.T
    expected = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert found == pytest.approx(expected, abs=0.05)
    assert expected[0, 1] > 0.85


def test_phases_keep_the_magnitude_of_photographs() -> None:
    canvas = Phase.noise((32, 40), 3, [make_generator(0)], contrast=0.5)
    with torch.no_grad():
        canvas.parameter += 1.3 * noise(*canvas.parameter.shape)
    inverse = torch.linalg.inv(torch.tensor(DECORRELATED).float())
    components = torch.einsum("oc,nchw->nohw", inverse, torch.logit(canvas.pictures().detach()))
    found = torch.fft.rfft2(components, norm="ortho").abs()[0]
    wanted = torch.from_numpy(compute_natural_magnitude(32, 40) * 0.5).float()
    # The first and the last column hold pairs that must be each other's conjugate.
    assert torch.allclose(found[:, :, 1:-1], wanted[:, :, 1:-1], rtol=2e-2, atol=1e-3)


def test_the_natural_magnitude_falls_with_frequency_and_is_small() -> None:
    found = compute_natural_magnitude(64, 64)
    assert found.shape == (3, 64, 33)
    assert (found[:, 0, 0] == 0).all()
    row = found[0, 0, 1:]
    assert row[0] > 5 * row[10] > 10 * row[31]
    assert np.isfinite(found).all()
    assert compute_natural_magnitude(30, 31, 1).shape == (1, 30, 16)


def test_noise_of_the_lecture() -> None:
    pictures = Pixels.noise((50, 50), 3, [make_generator(0)]).pictures().detach() * 255
    assert 128 <= float(pictures.min()) < 129
    assert 147 < float(pictures.max()) <= 148


def test_pixels_stay_in_range_where_asked() -> None:
    for clip in (True, False):
        canvas = Pixels(torch.full((1, 3, 4, 4), 0.9), clip)
        with torch.no_grad():
            canvas.parameter += 0.5
        canvas.constrain()
        assert float(canvas.pictures().detach().max()) == pytest.approx(1.0 if clip else 1.4)


# --- transforms -------------------------------------------------------------------------------------------------------


def test_jitter_moves_by_whole_pixels() -> None:
    pictures = noise(1, 3, 20, 20)
    seen = compose([jitter(8)])(pictures, torch.tensor([[0.0, 0.999]]))
    assert seen.shape == (1, 3, 12, 12)
    assert torch.allclose(seen, pictures[:, :, 8:20, 0:12], atol=1e-5)
    middle = compose([jitter(8)])(pictures, torch.tensor([[0.5, 0.5]]))
    assert torch.allclose(middle, pictures[:, :, 4:16, 4:16], atol=1e-5)


def test_padding_surrounds_with_grey_or_mirrors() -> None:
    pictures = noise(1, 1, 6, 6)
    seen = compose([pad(2)], fill="grey")(pictures, torch.zeros(1, 0))
    assert seen.shape == (1, 1, 10, 10)
    assert torch.allclose(seen[:, :, 2:8, 2:8], pictures, atol=1e-6)
    assert torch.allclose(seen[:, :, 0], torch.tensor(0.5))
    mirrored = compose([pad(2)])(pictures, torch.zeros(1, 0))
    assert torch.allclose(mirrored[:, :, 1, 2:8], pictures[:, :, 0], atol=1e-5)


def test_a_quarter_turn_and_an_enlargement() -> None:
    pictures = noise(1, 1, 9, 9)
    turned = compose([rotate(90)])(pictures, torch.tensor([[1.0]]))
    assert torch.allclose(turned, torch.rot90(pictures, 1, (2, 3)), atol=1e-4) or torch.allclose(
        turned, torch.rot90(pictures, -1, (2, 3)), atol=1e-4
    )
    ramp = torch.linspace(-4, 4, 9).expand(1, 1, 9, 9).contiguous()
    larger = compose([scale(2, 2.0001)])(ramp, torch.tensor([[0.0]]))
    assert torch.allclose(larger, ramp / 2, atol=1e-3)


@pytest.mark.parametrize("padding", ["zeros", "reflection"])
def test_sampling_in_order_has_the_gradient_of_torch(padding: str) -> None:
    """What a GPU uses; far outside the picture too, where a mirror turns several times."""
    pictures = noise(3, 2, 9, 13).requires_grad_()
    grid = 5 * torch.rand(3, 17, 11, 2, generator=torch.Generator().manual_seed(1)) - 2.5
    weight = noise(3, 2, 17, 11, seed=2)
    theirs = torch.nn.functional.grid_sample(pictures, grid, padding_mode=padding, align_corners=False)
    ours = OrderedSample.apply(pictures, grid, padding)
    assert torch.equal(ours, theirs)
    wanted, found = (torch.autograd.grad((x * weight).sum(), pictures)[0] for x in (theirs, ours))
    assert (found - wanted).abs().max() < 1e-6 * wanted.abs().max()


def test_each_picture_has_its_own_draw() -> None:
    pictures = noise(1, 3, 24, 24).expand(3, 3, 24, 24)
    view = compose([jitter(6), scale(0.8, 1.2), rotate(20)])
    draws = torch.rand(3, view.draws, generator=make_generator(0))
    seen = view(pictures, draws)
    assert not torch.allclose(seen[0], seen[1])
    for b in range(3):
        assert torch.allclose(seen[b], view(pictures[b : b + 1], draws[b : b + 1])[0], atol=1e-6)


# --- regularisers, optimisers -----------------------------------------------------------------------------------------


def test_penalties_are_what_they_say() -> None:
    pictures = noise(2, 3, 5, 7)
    assert torch.allclose(l2(2)(pictures), 2 * ((pictures - 0.5) ** 2).mean((1, 2, 3)))
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean((1, 2, 3))
    down = (pictures[:, :, 1:] - pictures[:, :, :-1]).abs().mean((1, 2, 3))
    assert torch.allclose(total_variation(3)(pictures), 3 * (across + down))


def test_a_blur_keeps_the_mean_and_takes_the_detail() -> None:
    pictures = noise(2, 3, 32, 32)
    soft = blur(pictures, 2.0)
    assert float(soft.mean()) == pytest.approx(float(pictures.mean()), abs=0.01)
    assert float(soft.std()) < 0.3 * float(pictures.std())
    assert torch.allclose(blur(torch.full((1, 1, 9, 9), 0.3), 1.5), torch.full((1, 1, 9, 9), 0.3))


def test_gradients_are_normalised_picture_by_picture() -> None:
    gradient = torch.randn(3, 3, 8, 8, generator=make_generator(0)) * torch.tensor([1e-3, 1.0, 1e4]).reshape(3, 1, 1, 1)
    found = normalise_gradient(gradient)
    for b in range(3):
        assert torch.allclose(found[b], gradient[b] / (gradient[b].square().mean().sqrt() + 1e-5), rtol=1e-5)
    even = (
        scale_to_unit(gradient * torch.tensor([1e-20, 1.0, 1.0]).reshape(3, 1, 1, 1)).flatten(1).square().mean(1).sqrt()
    )
    assert even.tolist() == pytest.approx([1, 1, 1], rel=1e-4)
    assert (scale_to_unit(torch.zeros(1, 4)) == 0).all()


def test_the_optimisers_act_on_each_picture_alone() -> None:
    gradients = [torch.randn(2, 5, generator=make_generator(n)) for n in range(6)]
    for make in (lambda: Ascent(0.1), lambda: Adam(0.1, 6)):
        both, one, other = torch.zeros(2, 5), torch.zeros(1, 5), make()
        alone = make()
        for gradient in gradients:
            other.step(both, gradient)
            alone.step(one, gradient[:1])
        assert torch.equal(both[:1], one)


def test_adam_is_adam() -> None:
    """Against the paper's lines in float64."""
    found, optimiser = torch.zeros(1, 4), Adam(0.1)
    calm, dampened = torch.zeros(1, 4), Adam(0.1, epsilon=0.5)
    place, mean, square = np.zeros(4), np.zeros(4), np.zeros(4)
    other = np.zeros(4)
    for n in range(1, 11):
        gradient = scale_to_unit(torch.randn(1, 4, generator=make_generator(n)))
        optimiser.step(found, gradient)
        dampened.step(calm, gradient)
        g = gradient[0].double().numpy()
        mean, square = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g * g
        place += 0.1 * (mean / (1 - 0.9**n)) / (np.sqrt(square / (1 - 0.99**n)) + 1e-8)
        other += 0.1 * (mean / (1 - 0.9**n)) / (np.sqrt(square / (1 - 0.99**n)) + 0.5)
    assert found[0].tolist() == pytest.approx(place.tolist(), abs=1e-5)
    assert calm[0].tolist() == pytest.approx(other.tolist(), abs=1e-5)


def test_the_rate_of_adam_falls_to_a_tenth_along_a_cosine() -> None:
    """A gradient that never changes makes steps of the length of the rate."""
    found, optimiser = torch.zeros(1, 4), Adam(0.1, steps=20)
    steps = []
    for _ in range(21):
        before = float(found[0, 0])
        optimiser.step(found, torch.ones(1, 4))
        steps.append(float(found[0, 0]) - before)
    wanted = [0.1 * (0.55 + 0.45 * np.cos(np.pi * n / 20)) for n in range(21)]
    assert steps == pytest.approx(wanted, rel=1e-4)
    assert steps[-1] == pytest.approx(0.01, rel=1e-4)

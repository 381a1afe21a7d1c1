"""Objectives against sums written out."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from tests.conftest import require

torch = require("torch")

from inspector.ascent import channel, deep, direction, diversity, likeness, neuron, stay  # noqa: E402


@pytest.fixture
def maps():  # type: ignore[no-untyped-def]
    return torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_each_picture_is_scored_by_its_own_channel(maps) -> None:  # type: ignore[no-untyped-def]
    found = channel("a", [3, 0, 3, 4])({"a": maps})
    assert torch.allclose(found, torch.stack([maps[b, c].mean() for b, c in enumerate([3, 0, 3, 4])]))
    flat = maps.mean((2, 3))
    assert torch.allclose(channel("a", [1, 2, 0, 4])({"a": flat}), flat[range(4), [1, 2, 0, 4]])


def test_a_neuron_is_one_unit(maps) -> None:  # type: ignore[no-untyped-def]
    assert torch.equal(neuron("a", [0, 1, 2, 3])({"a": maps}), maps[range(4), range(4), 3, 3])
    assert torch.equal(neuron("a", [0] * 4, (1, 5))({"a": maps}), maps[:, 0, 1, 5])
    with pytest.raises(UsageError, match="6 x 7"):
        neuron("a", [0] * 4, (6, 0))({"a": maps})


def test_the_mean_square(maps) -> None:  # type: ignore[no-untyped-def]
    assert torch.allclose(deep("a")({"a": maps}), (maps**2).flatten(1).mean(1))


def test_a_direction_along_one_axis_is_a_channel(maps) -> None:  # type: ignore[no-untyped-def]
    axis = torch.eye(5, dtype=torch.float64)[2]
    assert torch.allclose(direction("a", axis)({"a": maps}), channel("a", [2] * 4)({"a": maps}))
    each = torch.eye(5, dtype=torch.float64)[[0, 1, 2, 3]]
    assert torch.allclose(direction("a", each)({"a": maps}), channel("a", [0, 1, 2, 3])({"a": maps}))
    cosine = direction("a", axis, power=2)({"a": maps})
    expected = [
        sum(
            float(v @ axis) * max(float(v @ axis / v.norm()), 0.1) ** 2
            for v in maps[b].flatten(1).T
        ) / 42
        for b in range(4)
    ]  # fmt: skip
    assert cosine.tolist() == pytest.approx(expected)


def test_sums_scales_and_negatives(maps) -> None:  # type: ignore[no-untyped-def]
    a, b = channel("a", [0] * 4), deep("b")
    values = {"a": maps, "b": maps * 2}
    both = 2 * a - b * 0.5
    assert both.layers == ("a", "b")
    assert torch.allclose(both(values), 2 * a(values) - 0.5 * b(values))
    assert torch.equal((-a)(values), -a(values))


def test_pictures_of_a_group_are_compared_with_one_another_alone(maps) -> None:  # type: ignore[no-untyped-def]
    same = torch.cat([maps[:1], maps[:1], maps[1:3]])
    found = diversity("a", [0, 0, 1, 1])({"a": same})
    assert found[:2].tolist() == pytest.approx([-1, -1])
    first, second = (m.flatten(1) @ m.flatten(1).T for m in (maps[1], maps[2]))
    assert float(found[2]) == pytest.approx(-float((first * second).sum() / first.norm() / second.norm()))
    alone = diversity("a", [0, 1, 2, 3])({"a": maps})
    assert (alone == 0).all()


def test_staying_the_same_is_best(maps) -> None:  # type: ignore[no-untyped-def]
    score = stay("a", maps[:1])({"a": torch.cat([maps[:1], maps[:1] * 1.1])})
    assert score.tolist() == pytest.approx([0, -0.1])
    beside = stay("a")({"a": maps, "a@reference": maps})
    assert (beside == 0).all()


def test_likeness_grows_along_the_reference_and_prefers_its_direction(maps) -> None:  # type: ignore[no-untyped-def]
    target = maps[:1]
    other = torch.randn_like(target)
    other -= target * (other * target).sum() / target.square().sum()
    same, more, beside = likeness("a", target)({"a": torch.cat([target, 2 * target, target + other])})
    assert float(more) == pytest.approx(2 * float(same))
    assert beside < same


def test_channels_that_are_not_there_are_refused(maps) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="no channel 5; its channels are 0 to 4"):
        channel("a", [5] * 4)({"a": maps})
    with pytest.raises(UsageError, match="2 channels were given for 4 pictures"):
        channel("a", [0, 1])({"a": maps})
    with pytest.raises(UsageError, match="needs layer 'b'"):
        channel("b", [0] * 4)({"a": maps})

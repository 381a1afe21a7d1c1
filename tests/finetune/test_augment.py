"""Stored versions: the plain picture first, poses one after the other, the same for the same seed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from exporters.planning.augment import augment_image, count_distinct_versions

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)


def version(number: int, *kinds: str, seed: int = 0, digest: str = "d") -> np.ndarray:
    return np.asarray(augment_image(PICTURE, digest, number, kinds, seed))


def test_the_first_version_is_the_picture() -> None:
    assert np.array_equal(version(0, "hflip", "crop", "colour"), PIXELS)


def test_flips_go_through_all_four_poses() -> None:
    expected = [PIXELS, PIXELS[:, ::-1], PIXELS[::-1, ::-1], PIXELS[::-1]]
    found = [version(k, "hflip", "vflip") for k in range(4)]
    for pose in expected:
        assert sum(np.array_equal(pose, f) for f in found) == 1


def test_turns_and_a_flip_make_the_eight_poses_of_a_square() -> None:
    assert count_distinct_versions(("hflip", "rotate"), 64) == 8
    assert count_distinct_versions(("hflip", "vflip", "rotate"), 64) == 8
    assert count_distinct_versions(("hflip",), 4) == 2
    assert count_distinct_versions((), 4) == 1
    assert count_distinct_versions(("hflip", "crop"), 4) == 4
    found = {version(k, "hflip", "rotate").tobytes() for k in range(8)}
    assert len(found) == 8


def test_drawn_versions_depend_on_the_seed_the_picture_and_nothing_else() -> None:
    kinds = ("crop", "colour")
    one = version(1, *kinds)
    assert np.array_equal(one, version(1, *kinds))
    others = [version(2, *kinds), version(1, *kinds, seed=1), version(1, *kinds, digest="e")]
    assert all(o.shape != one.shape or not np.array_equal(o, one) for o in others)


def test_a_crop_keeps_at_least_half_of_the_picture() -> None:
    for k in range(1, 40):
        height, width = version(k, "crop").shape[:2]
        assert 0.5 <= height * width / (9 * 12) <= 1

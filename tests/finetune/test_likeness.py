"""Copies of one picture, and pictures of one group, lie on one side of a split."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from exporters.planning.dataset import Dataset, read_dataset, stratify
from exporters.planning.entries import DataError
from inspector.image.likeness import find_copies, shrink_picture
from tests.conftest import PHOTO


def crops(count: int, seed: int = 0) -> list[Image.Image]:
    """Different parts of the photograph."""
    photo, rng = Image.open(PHOTO).convert("RGB"), np.random.default_rng(seed)
    corners = [(int(rng.integers(0, 451 - 140)), int(rng.integers(0, 300 - 140))) for _ in range(count)]
    return [photo.crop((x, y, x + 140, y + 140)) for x, y in corners]


def encode(picture: Image.Image, quality: int, side: int = 140, light: float = 1.0) -> Image.Image:
    """The picture as it comes back from somebody's phone."""
    data = io.BytesIO()
    ImageEnhance.Brightness(picture.resize((side, side))).enhance(light).save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def sides(found: Dataset) -> dict[str, set[str]]:
    """Name of the original -> the splits in which it or a copy of it lies."""
    where: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        for sample in getattr(found, split):
            where.setdefault(Path(sample.name).name.split("-")[0], set()).add(split)
    return where


def test_copies_are_found_and_other_pictures_are_not() -> None:
    originals = crops(40)
    ways = ((90, 140, 1.0), (30, 140, 1.0), (50, 280, 1.1), (60, 100, 0.9))
    copies = [encode(picture, *way) for way in ways for picture in originals]
    groups = find_copies([shrink_picture(picture) for picture in (*originals, *copies)])
    assert groups[:40] == list(range(40))
    found = [groups[40 + k] == k % 40 for k in range(len(copies))]
    assert sum(found) >= 0.97 * len(copies)
    rng = np.random.default_rng(1)
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(200)]
    assert find_copies([shrink_picture(picture) for picture in noise]) == list(range(200))
    plain = [Image.new("RGB", (32, 32), (light,) * 3) for light in (0, 0, 128, 255)]
    assert find_copies([shrink_picture(picture) for picture in plain]) == [0, 0, 2, 3]


@pytest.mark.parametrize("seed", range(3))
def test_copies_stay_on_one_side(seed: int, tmp_path: Path) -> None:
    for name, pictures in (("cat", crops(12)), ("dog", crops(12, 1))):
        (tmp_path / name).mkdir()
        for k, picture in enumerate(pictures):
            picture.save(tmp_path / name / f"{name}{k}-0.png")
            for n, quality in enumerate((90, 60, 40), 1):
                encode(picture, quality).save(tmp_path / name / f"{name}{k}-{n}.jpg", quality=95)
    found = read_dataset(tmp_path, val=0.2, test=0.2, seed=seed)
    assert all(len(splits) == 1 for splits in sides(found).values())
    assert any("72 pictures show the same as another" in note for note in found.notes)
    counts = found.counts()
    assert all(8 <= count <= 16 for split in ("val", "test") for count in counts[split])  # 0.2 of 48 is 10


def test_a_copy_of_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    pictures = crops(8)
    for k, picture in enumerate(pictures):
        for split in ("train", "val"):
            folder = tmp_path / split / ("a" if k % 2 else "b")
            folder.mkdir(parents=True, exist_ok=True)
            if (split == "train") == (k < 6) or k == 0:
                encode(picture, 90 if split == "train" else 60).save(folder / f"{k}.png")
    found = read_dataset(tmp_path)
    assert [(s.name, s.reason) for s in found.skipped] == [
        ("train/b/0.png", "it shows the same as val/b/0.png, which is held out")
    ]


def test_groups_of_a_csv_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,label,group"]
    for k in range(40):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(tmp_path / f"p{k % 10}-{k}.png")
        lines.append(f"p{k % 10}-{k}.png,{'cat' if k % 2 else 'dog'},p{k % 10}")
    table = tmp_path / "data.csv"
    table.write_text("\n".join(lines))
    for seed in range(4):
        found = read_dataset(table, val=0.2, test=0.2, seed=seed)
        assert all(len(splits) == 1 for splits in sides(found).values())
        assert {len(getattr(found, split)) for split in ("val", "test")} == {8}
    assert "10 groups of the CSV stay together" in found.notes
    table.write_text("path,label,split,group\np0-0.png,dog,train,x\np1-1.png,cat,val,x\n")
    with pytest.raises(DataError, match="group 'x' is in train and val; give each group one split"):
        read_dataset(table)


def test_what_is_held_out_leaves_something_to_train_on() -> None:
    labels, groups = [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 4, 5]
    held = stratify(labels, 0.25, 0, groups)
    assert held[:4] == [False] * 4  # one group is all there is of its class
    assert sum(held[4:]) == 1
    mixed = stratify([0, 0, 1, 1], 0.5, 0, [0, 1, 0, 1])
    assert mixed in ([True, False, True, False], [False, True, False, True])

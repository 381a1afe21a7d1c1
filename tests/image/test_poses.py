"""Flips and turns: every different one once, and answers that do not change when a picture is given in another pose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector import open_model
from inspector.cli.app import run as run_here
from inspector.errors import UsageError
from inspector.image import open_image
from inspector.image.poses import list_poses, read_poses, turn_picture

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))


@pytest.mark.parametrize(
    ("kinds", "count"),
    [((), 1), (("hflip",), 2), (("vflip",), 2), (("hflip", "vflip"), 4), (("rotate",), 4), (("hflip", "rotate"), 8),
     (("hflip", "vflip", "rotate"), 8), (("crop", "colour"), 1)],
)  # fmt: skip
def test_all_different_ones_and_closed_under_each_kind(kinds: tuple[str, ...], count: int) -> None:
    found = list_poses(kinds)
    assert found[0] == (0, False)
    made = {turn_picture(PICTURE, pose).tobytes() + bytes(turn_picture(PICTURE, pose).size) for pose in found}
    assert len(made) == len(found) == count
    # A group: each of its members, given in any pose, makes the same set.
    for pose in found:
        other = turn_picture(PICTURE, pose)
        assert {turn_picture(other, p).tobytes() + bytes(turn_picture(other, p).size) for p in found} == made


def test_each_is_what_numpy_makes_of_it() -> None:
    array = np.asarray(PICTURE)
    for turns, mirrored in list_poses(("hflip", "vflip", "rotate")):
        wanted = np.rot90(array, turns)
        np.testing.assert_array_equal(
            np.asarray(turn_picture(PICTURE, (turns, mirrored))), wanted[:, ::-1] if mirrored else wanted
        )
    up_down = np.asarray(turn_picture(PICTURE, list_poses(("vflip",))[1]))
    np.testing.assert_array_equal(up_down, array[::-1])


def test_an_answer_over_poses_is_the_same_for_every_pose(default_model: Path, photo: Path) -> None:
    model, kinds = open_model(default_model), ("hflip", "vflip", "rotate")
    picture = open_image(photo).resize((224, 224))
    rows = [model.scores(model.tensor(turn_picture(picture, pose)))[0] for pose in list_poses(kinds)]
    mean = model.mean_scores(picture, kinds)
    np.testing.assert_allclose(mean, np.mean(rows, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.mean_scores(turn_picture(picture, (1, True)), kinds), mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(model.mean_scores(picture), rows[0])
    assert model.predict(picture, 1, ("hflip",))[0].score != model.predict(picture, 1)[0].score


def test_the_command(default_model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def score(*more: str) -> float:
        assert run_here(["predict", str(default_model), str(photo), "--json", *more]) == 0
        return float(json.loads(capsys.readouterr().out)["images"][0]["top"][0]["score"])

    assert score("--poses", "none") == score()
    model = open_model(default_model)
    assert score("--poses", "hflip, vflip") == pytest.approx(model.predict(photo, 1, ("hflip", "vflip"))[0].score)
    assert run_here(["predict", str(default_model), str(photo), "--poses", "crop"]) == 2
    assert "there is no pose 'crop'; known: hflip, vflip, rotate" in capsys.readouterr().err


def test_what_is_no_pose_is_said() -> None:
    assert read_poses("none") == ()
    with pytest.raises(UsageError, match="there is no pose 'crop'"):
        read_poses("hflip,crop")


def test_the_library_says_it_too(default_model: Path, photo: Path) -> None:
    model = open_model(default_model)
    with pytest.raises(UsageError, match="there is no pose 'flip'; known: hflip, vflip, rotate"):
        model.predict(photo, poses=("flip",))
    with pytest.raises(UsageError, match="poses are a sequence of names, not the text 'hflip'"):
        model.predict(photo, poses="hflip")


def test_a_file_of_one_picture_at_a_time(make_model: Any, photo: Path) -> None:
    def build(net: Any, x: str) -> str:
        return net("Gemm", net("Flatten", net("GlobalAveragePool", net.conv(x, 3, 8))), net.weight((8, 5)))

    model = open_model(make_model(build, shape=(1, 3, 32, 32)))
    kinds = ("hflip", "vflip")
    rows = [model.scores(model.tensor(turn_picture(open_image(photo), pose)))[0] for pose in list_poses(kinds)]
    np.testing.assert_allclose(model.mean_scores(photo, kinds), np.mean(rows, axis=0), rtol=1e-5, atol=1e-6)

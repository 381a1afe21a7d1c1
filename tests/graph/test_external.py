"""External data as caches of models and mounts lay it, and what a model is when its weights lie outside."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from inspector import open_model
from inspector.cli import NAMES
from inspector.cli.app import run
from inspector.cli.group import build_command
from inspector.errors import ModelError
from inspector.graph import read_graph
from tests.conftest import MakeModel
from tests.foreign import Net

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def network(n: Net, x: str) -> str:
    return n("Relu", n.conv(x, 3, 32, w="w", out="c"), out="r")


@pytest.fixture
def pair(make_model: MakeModel, tmp_path: Path) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """(model, its external data, what it answers) in a folder of their own."""
    plain = make_model(network, name="plain.onnx")
    folder = tmp_path / "pair"
    folder.mkdir()
    onnx.save_model(
        onnx.load(plain), folder / "model.onnx", save_as_external_data=True, location="model.onnx_data",
        size_threshold=0,
    )  # fmt: skip
    return folder / "model.onnx", folder / "model.onnx_data", open_model(plain).activations(PICTURE)


def check(path: Path, expected: dict[str, np.ndarray], allow: tuple[Path, ...] = ()) -> None:
    graph = read_graph(path, allow)
    weight = next(t for t in graph.initializers.values() if len(t.dims) == 4)
    assert graph.weight(weight.name).shape == (32, 3, 3, 3)
    answers = open_model(path, allow_links=allow).activations(PICTURE)
    for name, values in expected.items():
        np.testing.assert_array_equal(answers[name], values)


def test_a_cache_of_snapshots_and_blobs(pair: tuple[Path, Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """Hugging Face's cache: both are links into one folder of files named by their digests."""
    model, data, expected = pair
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for file in (model, data):
        name = hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blobs / name)
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / name)
    check(snapshot / "model.onnx", expected)


def test_folders_that_are_links(pair: tuple[Path, Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """The model's whole folder behind a link; both behind absolute links; a link of a link, in a deeper folder."""
    model, data, expected = pair
    (tmp_path / "whole").symlink_to(model.parent, target_is_directory=True)
    check(tmp_path / "whole" / model.name, expected)
    for name, aim in (("absolute", model.parent), ("deep/er", Path("../../absolute"))):
        (tmp_path / name).mkdir(parents=True)
        for file in (model, data):
            (tmp_path / name / file.name).symlink_to(aim / file.name)
        check(tmp_path / name / model.name, expected)


def test_a_folder_whose_name_begins_alike_is_another(
    pair: tuple[Path, Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    model, data, _ = pair
    (tmp_path / "weights-2").mkdir()
    (tmp_path / "weights").mkdir()
    data.rename(tmp_path / "weights-2" / "data")
    data.symlink_to(tmp_path / "weights-2" / "data")
    with pytest.raises(ModelError, match="behind a symbolic link"):
        read_graph(model, (tmp_path / "weights",))
    (tmp_path / "named").symlink_to(tmp_path / "weights-2", target_is_directory=True)
    for folder in ("weights-2/", "weights/../weights-2", "named"):
        assert read_graph(model, (tmp_path / folder,)).external_files


def test_a_mount_of_a_volume(pair: tuple[Path, Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """Kubernetes: both lead through the link ..data into the folder of the present version."""
    model, data, expected = pair
    mount = tmp_path / "mount"
    (mount / "..2026_11_26").mkdir(parents=True)
    (mount / "..data").symlink_to("..2026_11_26", target_is_directory=True)
    for file in (model, data):
        file.rename(mount / "..2026_11_26" / file.name)
        (mount / file.name).symlink_to(Path("..data") / file.name)
    check(mount / "model.onnx", expected)


def test_a_cache_of_folders_by_digest(pair: tuple[Path, Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """DVC: every file in a folder of its own; allowed where the user names the cache, by link and by hard link."""
    model, data, expected = pair
    cache, work = tmp_path / "cache", tmp_path / "work"
    work.mkdir()
    for letter, file in zip("ab", (model, data), strict=True):
        (cache / letter).mkdir(parents=True)
        file.rename(cache / letter / "0123")
        (work / file.name).symlink_to(cache / letter / "0123")
    with pytest.raises(ModelError) as caught:
        read_graph(work / "model.onnx")
    assert str(caught.value) == (
        f"{work}/model.onnx: external data 'model.onnx_data' is behind a symbolic link; if you trust that folder, "
        f"allow links into it: --allow-links {cache}/b"
    )
    check(work / "model.onnx", expected, (cache,))
    (work / "model.onnx_data").unlink()
    os.link(cache / "b" / "0123", work / "model.onnx_data")
    with pytest.raises(ModelError, match=r"is behind a hard link; if you trust that folder, allow links into it: "):
        read_graph(work / "model.onnx")
    check(work / "model.onnx", expected, (cache, work))


def test_every_command_that_opens_a_model_takes_the_folder(
    pair: tuple[Path, Path, dict[str, np.ndarray]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line that refuses a link names an option that the same command has, and with it the model opens."""
    model, data, _ = pair
    (tmp_path / "cache").mkdir()
    data.rename(tmp_path / "cache" / "blob")
    data.symlink_to(tmp_path / "cache" / "blob")
    for name in NAMES:
        options = {flag for param in build_command(name).params for flag in param.opts}
        opens = bool({"model", "base"} & {param.name for param in build_command(name).params})
        assert ("--allow-links" in options) == ("--input" in options) == opens, name
    commands = (
        ["layers", str(model)],
        ["annotate", str(model), "-o", str(model.with_name("named.onnx"))],
        ["audit", str(model)],
    )
    for command in commands:
        code = run(command)
        said = capsys.readouterr()
        hint = f"--allow-links {tmp_path}/cache"
        assert code == (1 if command[0] == "audit" else 2), command
        assert hint in " ".join((said.err + said.out).split()), command
        code = run([*command, "--allow-links", str(tmp_path / "cache")])
        said = capsys.readouterr()
        assert "behind a symbolic link" not in said.out + said.err, command
        assert command[0] == "audit" or code == 0, said.err


def test_a_link_out_of_what_was_named_is_refused(
    pair: tuple[Path, Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    model, data, _ = pair
    (tmp_path / "secret").mkdir()
    data.rename(tmp_path / "secret" / "data")
    data.symlink_to(tmp_path / "secret" / "data")
    (tmp_path / "link.onnx").symlink_to(model)
    for path, allow in ((model, ()), (model, (tmp_path / "pair",)), (tmp_path / "link.onnx", ())):
        with pytest.raises(ModelError, match=r"behind a symbolic link|is missing"):
            read_graph(path, allow)
    data.unlink()
    data.symlink_to(data.name)  # a circle
    with pytest.raises(ModelError, match=r"'model\.onnx_data' is missing"):
        read_graph(model, (tmp_path,))


def test_other_weights_are_another_model(pair: tuple[Path, Path, dict[str, np.ndarray]]) -> None:
    """The file's own digest stays when its weights are swapped; the model's does not."""
    model, data, _ = pair
    before = read_graph(model)
    assert before.size == model.stat().st_size + data.stat().st_size
    content, digest = data.read_bytes(), before.digest
    data.write_bytes(bytes(reversed(content)))
    after = read_graph(model)
    assert after.sha256 == before.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert after.digest != digest
    with pytest.raises(ModelError, match=re.escape(f"{data} was changed while it was open; open it again")):
        before.check_unchanged()
    data.write_bytes(content)
    assert read_graph(model).digest == digest


def test_a_model_in_one_file_has_one_digest(make_model: MakeModel) -> None:
    graph = read_graph(make_model(network))
    assert graph.digest == graph.sha256
    assert graph.external_files == ()

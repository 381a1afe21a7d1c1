"""Folders of pictures: one for each picture, whatever it is called, and an index of all that are there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.cli.app import run as run_here
from inspector.errors import OutputError
from inspector.pages.folders import PictureFolders
from tests.conftest import ROOT, MakeModel
from tests.foreign import Net


@pytest.fixture
def place(tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model m.onnx."""

    def build(n: Net, x: str) -> str:
        y = n("Relu", n.conv(x, 3, 4, 3, pads=1))
        return n("Softmax", n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.const(np.eye(4, dtype=np.float32))))

    make_model(build, shape=(1, 3, 8, 8)).rename(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paint(path: str | bytes, shade: int) -> str:
    """A picture of one shade."""
    name = os.fsdecode(path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(name, format="PNG")
    return name


def activations(*arguments: str) -> None:
    assert run_here(["activations", "m.onnx", "--quiet", *arguments]) == 0


def folders(out: str = "inspector-out") -> dict[str, int]:
    """Name of each folder -> shade of the picture in it."""
    pictures = Path(out).glob("*/picture.png")
    return {p.parent.name: int(np.asarray(Image.open(p))[0, 0, 0]) for p in pictures}


def links(out: str = "inspector-out") -> list[str]:
    page = (Path(out) / "index.html").read_text("utf-8")
    return [part.split('"')[0] for part in page.split('<a href="')[1:]]


def test_any_name_gives_a_readable_folder_of_its_own(place: Path) -> None:
    names = ["猫.png", "犬.png", "café.png", unicodedata.normalize("NFD", "café.png"), "Frame.png", "frame.PNG"]
    names += ["***.png", "???.png", "a b.png", "👩\u200d🔬.png", "ß.png", "SS.png", "con.png"]
    names += ["index.html.png", "INDEX.HTML.png", f"{'x' * 251}.png", "a.b..png", " a b.png", "a%20b.png"]
    for shade, name in enumerate(names):
        paint(f"pics/{name}", 3 * shade)
    paint(b"pics/\xe9t\xe9.png", 240)
    activations("pics")
    found = folders()
    assert sorted(found.values()) == [3 * k for k in range(len(names))] + [240]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in found}) == len(found)
    assert {"猫", "犬", "café", "café-2", "xe9txe9", "unnamed", "unnamed-2", "a_b", "👩🔬", "_con"} <= set(found)
    assert {name.casefold() for name in found} >= {"frame", "frame-2", "ss", "ss-2"}
    assert "index.html-2" in {name.casefold() for name in found}  # the name alone is that of the page
    activations("pics")  # every picture finds its own again
    assert folders() == found
    activations("pics/犬.png", "pics/frame.PNG")
    assert folders() == found
    assert len(links()) == len(found)


def test_pictures_of_one_name_never_share_a_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for shade, camera in ((10, "cam0"), (20, "cam1"), (30, "cam2")):
        paint(f"{camera}/frame.png", shade)
    activations("cam0/frame.png")
    assert folders() == {"frame": 10}
    activations("cam1/frame.png")
    activations("cam0/frame.png")
    assert folders() == {"frame": 10, "frame-2": 20}
    activations("cam2", "cam1", "cam0")
    assert folders() == {"frame": 10, "frame-2": 20, "frame-3": 30}
    shutil.rmtree("inspector-out/frame")
    activations("cam1/frame.png")
    assert folders() == {"frame-2": 20, "frame-3": 30}
    activations("cam0/frame.png")
    page = Path("inspector-out/index.html").read_text("utf-8")
    assert "3 pictures through m.onnx" in page
    for camera in ("cam0", "cam1", "cam2"):
        assert f"<b>{camera}/frame.png</b>" in page
    assert run_here(["cam", "m.onnx", "cam2/frame.png", "--quiet", "--method", "eigencam"]) == 0
    assert [p.parent.name for p in Path("inspector-out").glob("*/eigencam.png")] == ["frame-3"]


def test_a_new_picture_in_the_place_of_an_old_one_takes_the_old_results_away(place: Path) -> None:
    paint("a.png", 10)
    activations("a.png")
    assert run_here(["cam", "m.onnx", "a.png", "--quiet", "--top", "3"]) == 0
    folder = Path("inspector-out/a")
    (folder / "notes.txt").write_text("mine")
    assert len(list(folder.glob("gradcam*.npy"))) == 6
    paint("a.png", 20)
    assert run_here(["cam", "m.onnx", "a.png", "--quiet"]) == 0
    assert len(list(folder.glob("gradcam*.npy"))) == 2
    assert not (folder / "index.html").exists()
    assert not list(folder.glob("0*.png"))
    assert (folder / "notes.txt").exists()
    activations("a.png")
    assert folders() == {"a": 20}
    # cam and activations of one picture stand beside one another.
    assert len(list(folder.glob("gradcam*.npy"))) == 2


def test_pictures_and_results_may_be_moved(place: Path) -> None:
    paint("one/pics/a.png", 10)
    activations("one/pics/a.png", "-o", "one/out")
    shutil.move("one", "two")
    activations("two/pics/a.png", "-o", "two/out")
    assert folders("two/out") == {"a": 10}
    shutil.move("two/pics", "pics")
    activations("pics/a.png", "-o", "two/out")
    assert folders("two/out") == {"a": 10}
    paint("other/a.png", 20)
    activations("other/a.png", "-o", "two/out")
    assert folders("two/out") == {"a": 10, "a-2": 20}


def test_a_picture_that_is_given_twice_is_drawn_twice(place: Path) -> None:
    paint("a.png", 10)
    for _ in range(2):
        activations("a.png", "a.png")
        assert folders() == {"a": 10, "a-2": 10}


def test_a_folder_that_an_earlier_version_wrote_is_taken(place: Path) -> None:
    paint("a.png", 10)
    folder = Path("inspector-out/a")
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("old")
    record = {"software": "inspector 0", "model": "x.onnx", "sha256": "0", "files": ["index.html", "000-x.png"]}
    (folder / ".inspector.json").write_text(json.dumps(record))
    (folder / "000-x.png").touch()
    activations("a.png")
    assert folders() == {"a": 10}
    assert not (folder / "000-x.png").exists()


def test_two_processes_leave_one_whole_index(place: Path) -> None:
    for k in range(8):
        paint(f"pics{k % 2}/{k}.png", 10 * k)
        paint(f"pics{k % 2}/same.png", 100 + k % 2)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "inspector", "activations", "m.onnx", "--quiet"]
    running = [subprocess.Popen([*command, f"pics{k}"], env=environment, stdout=subprocess.DEVNULL) for k in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert sorted(folders().values()) == [*range(0, 80, 10), 100, 101]
    assert set(links()) == {f"{name}/index.html" for name in folders()}


def test_the_index_follows_single_pictures_and_leaves_other_pages_alone(place: Path) -> None:
    for shade, name in enumerate("abc"):
        paint(f"{name}.png", shade)
    activations("a.png", "b.png")
    activations("c.png")
    assert links() == ["a/index.html", "b/index.html", "c/index.html"]
    shutil.rmtree("inspector-out/b")
    activations("c.png")
    assert links() == ["a/index.html", "c/index.html"]
    shutil.copy("m.onnx", "n.onnx")
    assert run_here(["activations", "n.onnx", "c.png", "--quiet"]) == 0
    assert "2 pictures through 2 models" in Path("inspector-out/index.html").read_text("utf-8")
    Path("site").mkdir()
    Path("site/index.html").write_text("mine")
    for pictures in (["a.png"], ["a.png", "c.png"]):
        activations(*pictures, "-o", "site")
        assert Path("site/index.html").read_text() == "mine"
    assert len(folders("site")) == 2


def test_a_picture_that_fails_leaves_no_folder(place: Path) -> None:
    Path("bad.png").write_bytes(b"no picture")
    assert run_here(["activations", "m.onnx", "bad.png", "-o", "deep/out"]) == 2
    assert sorted(p.name for p in place.iterdir()) == ["bad.png", "m.onnx"]
    paint("good/bad.png", 10)
    for _ in range(2):
        activations("bad.png", "good/bad.png", "-o", "out")
        assert folders("out") == {"bad": 10}
    shutil.rmtree("out")
    Path("out/bad").mkdir(parents=True)
    Path("out/bad/mine").touch()
    assert run_here(["activations", "m.onnx", "bad.png", "-o", "out"]) == 2
    assert [p.name for p in Path("out/bad").iterdir()] == ["mine"]


def test_a_file_system_that_takes_only_ascii(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint("猫.png", 10)
    mkdir = Path.mkdir

    def refuse(self: Path, *arguments: object, **more: object) -> None:
        if not self.name.isascii():
            raise OSError(errno.EILSEQ, "Invalid or incomplete multibyte or wide character", str(self))
        mkdir(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)
    activations("猫.png")
    activations("猫.png")
    assert folders() == {"u732b": 10}


def test_what_cannot_be_made_is_told(place: Path) -> None:
    paint("a.png", 10)
    Path("out").write_text("a file")
    text = "cannot make the folder out: a file has that name; choose another name"
    with pytest.raises(OutputError, match=text), PictureFolders("out").claim("a.png", "a", "a.png"):
        pass


def test_what_an_earlier_run_drew_is_gone_before_anything_is_drawn(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A picture that replaces one is waited for until it is on the disk, and pictures of two runs are of no use."""
    paint("a.png", 9)
    assert run_here(["activations", "m.onnx", "a.png", "-o", "out"]) == 0
    seen: list[set[str]] = []

    def draw(*given: object) -> None:
        seen.append({p.name for p in Path("out/a").iterdir()})
        raise OutputError("no more", "")

    for step in ("_draw_layer", "_draw_page_pictures", "_write_channels"):
        monkeypatch.setattr(f"inspector.pages.gallery.{step}", draw)
    assert run_here(["activations", "m.onnx", "a.png", "-o", "out"]) == 2
    assert seen[0] == {".inspector.json"}

import os
import resource
import stat
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.cli.app import run
from inspector.errors import OutputError
from inspector.files import atomic_path, make_safe_name, output_folder, write_bytes, write_npy, write_text
from inspector.pages.folder import _remove
from tests.conftest import MakeModel


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_files_are_written(tmp_path):
    write_bytes(tmp_path / "a.bin", b"\0\1")
    write_text(tmp_path / "b.txt", "é\n\udcff")
    write_npy(tmp_path / "c.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    write_npy(tmp_path / "no-ending", np.zeros(2))
    assert (tmp_path / "a.bin").read_bytes() == b"\0\1"
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "é\n?"
    assert np.load(tmp_path / "c.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert names(tmp_path) == ["a.bin", "b.txt", "c.npy", "no-ending"]


def test_a_file_has_the_rights_the_umask_leaves(tmp_path):
    before = os.umask(0o022)
    try:
        path = write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_target_is_untouched_until_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), OSError(2, "gone", "/else/where")])
def test_an_error_of_the_block_passes_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)) as caught, atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert caught.value is error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_link_keeps_pointing_at_its_file(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = write_bytes(tmp_path / "a.npy", b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for write in (lambda: write_bytes(path, bytes(9999)), lambda: write_npy(path, np.zeros(9999))):
            with pytest.raises(OutputError) as caught:
                write()
            assert str(caught.value).startswith(f"cannot write {path}: ")
            assert "\n" not in str(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.npy"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (28, "the disk is full; free some space"),
        (13, "permission denied; choose"),
        (30, "read-only"),
        (5, "I/O error"),
    ],
)
def test_the_reason_is_said_in_words(tmp_path, number, reason):
    message = "Input/output I/O error" if number == 5 else "x"
    with pytest.raises(OutputError, match=reason), atomic_path(tmp_path / "a") as temporary:
        raise OSError(number, message, str(temporary))


def test_places_that_cannot_be_written(tmp_path):
    file = write_text(tmp_path / "file", "x")
    cases = {
        tmp_path / "none" / "a": "its folder does not exist; make the folder first",
        file / "a": "a part of the path is a file, not a folder",
        tmp_path: "it is a folder; give the name of a file",
        tmp_path / ("n" * 250): None,
        tmp_path / ("n" * 300): "the name is too long",
    }
    if sys.platform == "linux":
        cases[Path("/proc/a")] = "nothing can be made in its folder; choose another folder"
        with pytest.raises(OutputError, match="nothing can be made in its folder"):
            output_folder("/proc/a/b")
    for path, reason in cases.items():
        if reason is None:
            write_text(path, "x")
            continue
        with pytest.raises(OutputError, match=reason):
            write_text(path, "x")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX devices")
def test_a_device_is_never_replaced():
    with pytest.raises(OutputError, match="/dev/null: it is not an ordinary file"):
        write_text("/dev/null", "x")
    assert not os.path.isfile("/dev/null")  # noqa: PTH113


def test_a_read_only_file_is_kept_from_root_too(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(lambda net, x: net("Relu", net.conv(x, 3, 4)))
    kept = write_text(tmp_path / "named.onnx", "kept")
    (tmp_path / "link").symlink_to(kept)
    kept.chmod(0o444)
    for path in (kept, tmp_path / "link"):
        with pytest.raises(OutputError, match=r"read-only; give another name, or make it writable "):
            write_text(path, "lost")
    assert run(["annotate", str(model), "-o", str(kept)]) == 2
    assert "named.onnx: the file that is there is read-only" in " ".join(capsys.readouterr().err.split())
    assert names(tmp_path) == ["link", model.name, "named.onnx"]
    assert kept.read_text("utf-8") == "kept"
    kept.chmod(0o644)
    assert write_text(kept, "new").read_text("utf-8") == "new"


def test_read_only_results_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    """None of them goes where one of them may not."""
    kept, other = (write_text(tmp_path / name, "kept") for name in ("page.json", "index.html"))
    kept.chmod(0o444)
    with pytest.raises(OutputError, match=r"page\.json: the file that is there is read-only"):
        _remove(tmp_path, ["index.html", "page.json", "gone.png"])
    assert names(tmp_path) == ["index.html", "page.json"]
    kept.chmod(0o644)
    _remove(tmp_path, [kept.name, other.name])
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_permission_denied(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        write_text(tmp_path / "a", "x")
    with pytest.raises(OutputError, match="permission denied"):
        output_folder(tmp_path / "a")


def test_output_folder(tmp_path):
    assert output_folder(tmp_path / "a" / "b").is_dir()
    assert output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    file = write_text(tmp_path / "file", "x")
    with pytest.raises(OutputError, match="a file has that name; choose another"):
        output_folder(file)
    with pytest.raises(OutputError, match="a part of the path is a file"):
        output_folder(file / "a")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=120), max_size=12))
def test_safe_names_are_portable_and_unique(texts):
    taken = set()
    made = [make_safe_name(text, taken) for text in texts]
    assert len({name.casefold() for name in made}) == len(made)
    for name in made:
        assert 1 <= len(name) <= 80
        assert len(name.encode()) <= 210
        assert name == unicodedata.normalize("NFC", name)
        assert all(c.isalnum() or c in "._-" or (not c.isascii() and c.isprintable()) for c in name)
        assert name[0] not in ".-"
        assert name[-1] not in ". "
        assert name.split(".")[0].lower() not in {"con", "nul", "com1", "lpt9"}
    again = set()
    assert [make_safe_name(text, again) for text in texts] == made


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("features.28", "features.28"),
        ("a/b:c\\d e", "a_b_c_d_e"),
        ("../../etc/passwd", "etc_passwd"),
        ("héllo", "héllo"),
        ("he\u0301llo", "héllo"),
        ("大象", "大象"),
        ("大象（1） 写真", "大象（1）_写真"),
        ("a\u3000b\u202ec", "a_bc"),
        ("हिन्दी", "हिन्दी"),
        ("👩\u200d🔬", "👩🔬"),
        ("\udce9t\udce9", "xe9txe9"),
        ("\ud800", "unnamed"),
        ("COM¹", "_COM¹"),
        ("猫" * 99, "猫" * 66),
        ("", "unnamed"),
        ("NUL", "_NUL"),
        ("con.conv", "_con.conv"),
    ],
)
def test_safe_names(text, name):
    assert make_safe_name(text) == name


def test_a_name_that_the_encoding_of_files_has_no_bytes_for(monkeypatch):
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert [make_safe_name(t) for t in ("é", "猫-é", "大象")] == ["é", "u732b-e", "u5927u8c61"]


def test_names_that_differ_only_in_case_or_in_what_is_lost():
    taken = set()
    assert [make_safe_name(t, taken) for t in ("Conv", "conv", "co/nv", "co:nv", "x" * 99, "x" * 98)] == [
        "Conv", "conv-2", "co_nv", "co_nv-2", "x" * 80, "x" * 78 + "-2",
    ]  # fmt: skip

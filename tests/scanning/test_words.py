"""What `inspector scan` says: commands of its words, parts without work, and how an interrupted scan goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

import inspector
from inspector.cli.app import run


def test_merge_and_compare_are_commands_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["merge", "--help"], ["-o", "out", "merge", "--help"]):
        assert run(["scan", *given]) == 0
        told = capsys.readouterr().out
        assert "Usage: inspector scan merge" in told
        assert "--engine" not in told
    assert run(["scan", "compare", "-h"]) == 0
    assert "Usage: inspector scan compare" in capsys.readouterr().out
    for option in (["--top", "3"], ["--engine", "plain"], ["--provider", "cpu"], ["--shard-size", "4"], ["--resume"]):
        assert run(["scan", "merge", "a", "-o", "out", *option]) == 2
        assert f"No such option: {option[0]}" in capsys.readouterr().err


def test_numbers_are_spoken_and_a_part_without_shards_says_so(
    network: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["scan", str(network), str(pictures / "green"), "--engine", "plain", "-o"]
    assert run([*command, str(tmp_path / "part"), "--shard", "2/2"]) == 0
    told = capsys.readouterr()
    assert "part: 0 pictures in 0 shards, 0 skipped, " in told.out
    assert "this part has nothing to do: the scan has 1 shard of 256 pictures" in told.err
    assert "`inspector scan merge` makes the tables and the page of all parts" in told.err


def test_an_interrupted_scan_says_how_it_goes_on(
    network: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        (tmp_path / "plan.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(inspector, "scan", stop)
    assert run(["scan", str(network), str(pictures), "-o", str(tmp_path)]) == 130
    [line] = capsys.readouterr().err.splitlines()
    assert line == "inspector: interrupted; the same command with --resume goes on with what is done"

"""Every command on files of other exporters: an answer, or one clear line. `tests/foreign` makes and tries them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.foreign.commands import COMMANDS, FAULT, OK, REFUSED, WITH_TORCH, Outcome, judge, try_files
from tests.foreign.compared import COMPARISONS
from tests.foreign.make_files import NotInstalled, list_files
from tests.foreign.run_all import ALL, PAGE, plain, try_all, write_page

QUICK = ("paddle-detector", "shared-constants", "nothing-found")
LEFT_OUT = (*WITH_TORCH, "audit", "finetune", "quantize int8")  # they take the longest


def test_commands_on_a_few_files(tmp_path: Path) -> None:
    """Without torch; the others, and all files, are the slow test's."""
    files = list_files()
    commands = [name for name in (*COMMANDS, *COMPARISONS) if name not in LEFT_OUT]
    tried = dict(try_files([files[name].write(tmp_path) for name in QUICK], commands))
    assert [path.stem for path in tried] == [*QUICK]
    for path, outcomes in tried.items():
        assert [o.command for o in outcomes] == commands
        assert not [o for o in outcomes if o.state == FAULT], path.stem
        assert {o.command for o in outcomes if o.state == OK} >= {"layers", "activations", "values"}, path.stem


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_command_on_every_file(tmp_path: Path) -> None:
    """All that can be made with what is installed; the extra `foreign` brings more."""
    files = list_files()
    tried = {file.name: outcomes for file, outcomes in try_all(list(files.values()), tmp_path)}
    faults = [f"{name}, {o.command}: {o.text}" for name, all_of in tried.items() for o in all_of if o.state == FAULT]
    assert not faults, "\n".join(faults)
    assert len(tried) >= 30


def test_what_is_a_fault() -> None:
    def error(message: str) -> dict[str, dict[str, str]]:
        return {"error": {"kind": "model", "message": message, "hint": "look"}}

    assert judge("cam", 2, error("it has no classes")) == Outcome("cam", REFUSED, "it has no classes; look")
    for code, document in (
        (2, error("internal error, ValueError: no")),
        (2, error("two\nlines")),
        (2, error("cannot load /tmp/.inspector-1.part/trial.onnx")),
        (1, error("it has no classes")),
        (1, {"checks": [{"id": "twin", "status": "error", "message": "broke"}]}),
        (3, {"layers": []}),
    ):
        assert judge("audit" if "checks" in document else "layers", code, document).state == FAULT
    assert judge("audit", 1, {"checks": [{"id": "size", "status": "fail"}]}).state == OK


def test_a_process_that_dies_is_followed_by_another(tmp_path: Path) -> None:
    files = list_files()
    path = files["unsorted"].write(tmp_path)
    tried = dict(try_files([path], ["layers", "die", "annotate"]))
    assert [(o.command, o.state) for o in tried[path]] == [("layers", OK), ("die", FAULT), ("annotate", OK)]


def test_a_file_that_cannot_be_made_says_what_is_missing(tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(NotInstalled, match="no_such_package"):
        replace(list_files()["centerface"], needs=("no_such_package",)).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_page_tells_each_reason_once() -> None:
    file = list_files()["unsorted"]
    outcomes = [Outcome(name, OK, "written") for name in ALL[2:]]
    refusals = [Outcome(name, REFUSED, f"/tmp/x/{name}.onnx has no classes | none") for name in ALL[:2]]
    page = write_page({"unsorted": (file, refusals + outcomes)})
    assert "| (1) | (1) | yes |" in page
    assert "1. FILE has no classes \\| none" in page
    assert page == write_page({"unsorted": (file, refusals + outcomes)})
    assert plain("/a/b.onnx and /c/pictures") == "FILE and pictures"


def test_the_page_lists_files_and_no_fault() -> None:
    page = PAGE.read_text("utf-8")
    known = [name for name in list_files() if f"| `{name}` |" in page]
    assert len(known) >= 30
    assert page.count("\n| `") == len(known), "a file has gone: python -m tests.foreign.run_all FOLDER --write"
    assert "FAULT" not in page

"""The recipe "Add an audit check" of CONTRIBUTING.md: each step that can be forgotten is named by a test."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from inspector.auditing import Limit, NotChecked, Subject, Verdict, audit_model, check, find_checks, registry
from inspector.auditing.catalogue import FAMILIES, find_builtin_checks, find_check_files, load_check_files
from inspector.auditing.needs import NEEDS
from inspector.auditing.policy_template import make_policy_schema
from inspector.auditing.reference import COMMAND
from inspector.errors import UsageError
from inspector.model import Model
from tests.audit.policies import policy
from tests.conftest import ROOT

FILES = find_check_files()
PAGES: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "scripts" / "checks.py"))["write_pages"]()


def test_the_checks_are_the_files() -> None:
    written = {file.stem for file in (ROOT / "inspector" / "auditing" / "checks").glob("*/[!_]*.py")}
    assert {name for _, name in FILES.values()} == written
    assert list(find_builtin_checks()) == list(FILES)
    assert {family for family, _ in FILES.values()} == set(FAMILIES), (
        "step 1: FAMILIES in inspector/auditing/catalogue.py"
    )


@pytest.mark.parametrize("id", FILES)
def test_every_step_was_done(id: str) -> None:
    one, (family, name) = find_builtin_checks()[id], FILES[id]
    file = f"inspector/auditing/checks/{family}/{name}.py"
    assert (one.id, one.family, one.run.__name__) == (id, family, name), f"step 1: call the function in {file} {name}"
    assert not one.title.endswith("."), f"step 2: the title in {file} is no sentence with a full stop"
    assert one.remedy.endswith("."), f"step 2: {file} does not say what to do (remedy), in a sentence"
    assert all(limit.meaning for limit in one.limits.values()), f"step 2: a setting in {file} has no meaning"
    assert one.run.__doc__, f"step 3: the function in {file} has no docstring"
    tests = [path for path in Path(__file__).parent.glob("test_*.py") if f'"{id}"' in path.read_text("utf-8")]
    # Whether such a test asserts anything of worth is for a reader to see.
    assert tests, f'step 4: no test in tests/audit names "{id}"'


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_the_pages_are_up_to_date(file: Path) -> None:
    assert file.is_file(), f"step 5: {COMMAND}"
    assert file.read_text("utf-8") == PAGES[file], f"step 5: {file.name} is stale; run {COMMAND}"


def test_the_page_has_every_check_and_setting() -> None:
    page = next(text for file, text in PAGES.items() if file.suffix == ".md")
    for id, one in find_builtin_checks().items():
        section = page.split(f"\n### {id}\n")[1].split("\n##")[0]
        assert one.remedy in section
        assert all(f"| `{name}` |" in section for name in one.limits)


# --- what is declared is so -------------------------------------------------------------------------------------------


def test_what_a_check_declares_to_need_is_what_keeps_it_from_running(model: Model) -> None:
    demands = policy(checks={id: {"on": False} for id in ("latency", "memory")})
    subject = Subject(model, demands)
    for result in audit_model(model, demands).checks:
        reasons = [reason for need in find_checks()[result.id].needs if (reason := lack(subject, need))]
        if reasons:
            assert result.message == f"not run: {reasons[0]}"
        else:
            everything = {f"not run: {lack(subject, need)}" for need in NEEDS}
            assert result.message not in everything, f"{result.id} needs what it does not declare"


def lack(subject: Subject, need: Any) -> str:
    try:
        subject.need(need)
    except NotChecked as reason:
        return reason.reason
    return ""


def test_the_schema_takes_what_the_reader_takes() -> None:
    schema = make_policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = {"seed": 3, "images": {"data": "x"}, "checks": {"accuracy": {"min": "none", "required": True}}}
    assert not list(validator.iter_errors(good))
    for bad in (
        {"sed": 3}, {"checks": {"acuracy": {}}}, {"checks": {"accuracy": {"min": 60}}}, {"regions": {"box": [1]}},
        {"checks": {"consistent-jpeg": {"quality": "none"}}}, {"images": {"labelled": "maybe"}},
    ):  # fmt: skip
        assert list(validator.iter_errors(bad)), bad
    for one in find_builtin_checks().values():
        for name, limit in one.limits.items():
            default = "none" if limit.default is None else limit.default
            assert not list(validator.iter_errors({"checks": {one.id: {name: default}}})), (one.id, name)


# --- a file that is not a check ---------------------------------------------------------------------------------------

TWO = """
from inspector.auditing import Verdict, check

@check("{0}", family="file", title="One")
def one(subject, limits):
    return Verdict("one")

@check("{0}-again", family="file", title="Two")
def two(subject, limits):
    return Verdict("two")
"""


@pytest.mark.parametrize(("text", "count"), [("x = 1\n", "0 checks;"), (TWO.format("odd"), "2 checks: odd, odd-again")])
def test_a_file_that_does_not_register_exactly_one_check_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registered: None, text: str, count: str
) -> None:
    package = f"strange{len(text)}"
    family = tmp_path / package / "file"
    family.mkdir(parents=True)
    for folder in (family, family.parent):
        (folder / "__init__.py").write_text("")
    (family / "odd.py").write_text(text)
    (family / "_helper.py").write_text("raise AssertionError('a helper is not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    files = find_check_files(tmp_path / package)
    assert files == {"odd": ("file", "odd")}
    with pytest.raises(UsageError, match=f"file/odd.py registers {count}"):
        load_check_files(files.values(), package)
    sys.modules.pop(f"{package}.file.odd")


def test_a_file_takes_its_id_from_its_name(registered: None) -> None:
    def run(subject: Subject, limits: Any) -> Verdict:
        """Fine."""
        return Verdict("fine")

    run.__module__ = "inspector.auditing.checks.file.my_own"
    check(title="Mine", limits={"max": Limit(1, "things")})(run)
    assert (registry.registered["my-own"].id, registry.registered["my-own"].family) == ("my-own", "file")
    with pytest.raises(UsageError, match="is called after its file and folder; leave out id and family"):
        check("other", title="Mine")(run)
    run.__module__ = "elsewhere"
    with pytest.raises(UsageError, match="has no id"):
        check(title="Mine")(run)
    with pytest.raises(UsageError, match="has no family"):
        check("mine", title="Mine")(run)


def test_a_file_beside_the_families_fails(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("")
    (tmp_path / "_helper.py").write_text("")
    with pytest.raises(UsageError, match=rf"{tmp_path.name}/odd.py stands in no family"):
        find_check_files(tmp_path)


def test_a_folder_that_is_no_package_fails(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "odd.py").write_text("")
    with pytest.raises(UsageError, match=rf"the family {tmp_path.name}/mine has no __init__.py"):
        find_check_files(tmp_path)


def test_two_families_with_a_file_of_one_name(tmp_path: Path) -> None:
    for family in ("file", "cost"):
        (tmp_path / family).mkdir()
        for name in ("__init__.py", "same.py"):
            (tmp_path / family / name).write_text("")
    with pytest.raises(UsageError, match="two checks are called 'same'"):
        find_check_files(tmp_path)

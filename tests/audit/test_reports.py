"""Reports: valid against their formats, within the limits of those who read them, safe with names of strangers."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from inspector.auditing import (
    Audit,
    CheckResult,
    Finding,
    Limit,
    Subject,
    Verdict,
    Where,
    audit_model,
    find_checks,
    registry,
)
from inspector.auditing.reports import (
    check_targets,
    format_junit,
    format_markdown,
    format_sarif,
    format_table,
    make_document,
    write_reports,
)
from inspector.auditing.reports.words import format_number
from inspector.auditing.result import conclude
from inspector.errors import OutputError
from inspector.metadata import KEY, Metadata
from inspector.text import to_json as dumps
from tests.audit import broken
from tests.audit.networks import small
from tests.audit.pictures import pngs
from tests.audit.policies import policy
from tests.conftest import MakeModel, require

NASTY = 'blocks.<b>|`x`\x00\x1b[31m\ud800 & "quoted" ' + "é" * 40


def result(id: str, status: Any, findings: int = 0, **more: Any) -> CheckResult:
    found = tuple(
        Finding(f"finding {i} in {NASTY}", i + 0.5, 0.25, Where(f"layer.{i}", i, f"{i}.jpg")) for i in range(findings)
    )
    settings: dict[str, Any] = {
        "family": "file", "title": "A title", "severity": "error", "counts": status, "message": f"{id}: {NASTY}",
        "value": 1.5, "limit": 1.0, "where": Where(NASTY, 3, "a.jpg"), "findings": found, "seconds": 0.5,
    }  # fmt: skip
    return CheckResult(id=id, status=status, **{**settings, **more})


def audit(*checks: CheckResult) -> Audit:
    passed, verdict = conclude(checks)
    return Audit(Path("models/my model.onnx"), "0" * 64, checks, passed, verdict, "test", 7, 3, 1.25)


MIXED = audit(
    result("opset", "pass"),
    result("size", "warn", 2, severity="warning"),
    result("accuracy", "fail", 3, family="behaviour"),
    result("twin", "skipped", counts="skipped", value=None, limit=None),
    result("latency", "skipped", counts="fail", value=float("nan")),
    result("memory", "error", counts="fail", value=float("inf")),
)
MANY = audit(*(result(f"check-{i}", "fail", 100) for i in range(120)))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, cats: Path) -> Audit:
    """A real audit of a broken model."""
    folder = tmp_path_factory.mktemp("real")
    chosen = policy("file", "representation", "behaviour", "finite-on-images")
    return audit_model(broken.not_a_number(folder / "nan model.onnx"), chosen, data=cats)


# --- SARIF ------------------------------------------------------------------------------------------------------------


def validated(text: str) -> dict[str, Any]:
    """The document, valid against the schema."""
    jsonschema = require("jsonschema")
    schema = json.loads((Path(__file__).parent / "sarif-2.1.0-trimmed.json").read_text("utf-8"))
    document: dict[str, Any] = json.loads(text)
    jsonschema.Draft4Validator(schema).validate(document)
    return document


@pytest.mark.parametrize("given", [MIXED, audit(), audit(result("opset", "pass"))], ids=["mixed", "none", "pass"])
def test_sarif_is_valid(given: Audit) -> None:
    [run] = validated(format_sarif(given))["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == [check.id for check in given.checks]
    for found in run["results"]:
        assert rules[found["ruleIndex"]] == found["ruleId"]
        assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("models/my%20model.onnx")


def test_sarif_of_a_real_audit(real: Audit) -> None:
    [run] = validated(format_sarif(real))["runs"]
    nan = next(r for r in run["results"] if r["ruleId"] == "weights-finite")
    assert nan["level"] == "error"
    assert nan["locations"][0]["logicalLocations"][0]["name"] == "blocks.6.expand_conv"
    assert nan["properties"] == {"value": 1, "limit": 0, "layer": "blocks.6.expand_conv", "channel": 7}


def test_sarif_keeps_within_the_limits_of_github() -> None:
    text = format_sarif(MANY)
    document = json.loads(text)
    [run] = document["runs"]
    assert len(run["results"]) == 5000
    validated(json.dumps({**document, "runs": [{**run, "results": run["results"][::50]}]}))
    assert len(text.encode()) <= 10_000_000
    for found in run["results"]:
        assert len(found["message"]["text"]) <= 1000
        assert len(found["locations"]) <= 100
    for rule in run["tool"]["driver"]["rules"]:
        assert len(rule["properties"]["tags"]) <= 10
        assert all(len(rule[key]["text"]) <= 1024 for key in ("shortDescription", "fullDescription", "help"))
    long = tuple(Finding("x" * 1000, where=Where("y" * 200, j, "z" * 300)) for j in range(100))
    huge = audit(*(replace(MIXED.checks[2], id=f"check-{i}", findings=long) for i in range(60)))
    assert len(format_sarif(huge).encode()) <= 10_000_000


def test_fingerprints_are_stable_and_differ() -> None:
    def marks(given: Audit) -> list[str]:
        [run] = json.loads(format_sarif(given))["runs"]
        return [r["partialFingerprints"]["primaryLocationLineHash"] for r in run["results"]]

    first = marks(MIXED)
    assert len(set(first)) == len(first)
    changed = replace(
        MIXED, seconds=9.0, seed=5, checks=tuple(replace(c, message="other", value=7.0) for c in MIXED.checks)
    )
    assert marks(changed)[:3] == first[:3]
    assert all(mark.endswith(":1") for mark in first)


def test_findings_without_a_place_have_marks_of_their_own(make_model: MakeModel, tmp_path: Path) -> None:
    """Two classes that are hardly recognised are two findings, and one that is repaired closes no other's."""
    names = ("cat", "dog", "fox")
    model = make_model(small, shape=("N", 3, 16, 16), metadata={KEY: Metadata(labels=names).dumps()})
    data = pngs(tmp_path / "p", 9, names)

    def marks(given: Audit) -> dict[str, str]:
        [run] = validated(format_sarif(given))["runs"]
        return {
            f"{r['message']['text']}": r["partialFingerprints"]["primaryLocationLineHash"]
            for r in run["results"] if r["ruleId"] == "class-recall"
        }  # fmt: skip

    found = audit_model(model, policy("class-recall", checks={"class-recall": {"min": 1}}), data=data)
    recall = found.check("class-recall")
    assert len(recall.findings) >= 2
    every = marks(found)
    assert len(set(every.values())) == len(every) == len(recall.findings)
    fewer = replace(found, checks=(replace(recall, findings=recall.findings[1:]),))
    assert marks(fewer) == {text: mark for text, mark in every.items() if text != recall.findings[0].message}


def test_findings_that_are_the_same_in_all_are_numbered() -> None:
    same = tuple(Finding(f"the {i}th") for i in range(3))
    [run] = json.loads(
        format_sarif(audit(result("x", "fail", where=Where()), replace(MIXED.checks[2], findings=same)))
    )["runs"]
    for key in ("primaryLocationLineHash", "inspector/v1"):
        found = [r["partialFingerprints"][key] for r in run["results"]]
        assert len(set(found)) == len(found) == 4
    assert [r["partialFingerprints"]["primaryLocationLineHash"][-2:] for r in run["results"]] == [
        ":1",
        ":1",
        ":2",
        ":3",
    ]


def test_names_that_are_no_unicode() -> None:
    name = os.fsdecode(b"caf\xe9")
    bad = replace(
        audit(result("x", "fail", 1), replace(MIXED.checks[2], findings=(Finding("m", where=Where(name, 1, name)),))),
        path=Path(f"models/{name}.onnx"),
    )
    document = validated(format_sarif(bad))
    json.dumps(document, ensure_ascii=False).encode("utf-8")  # no lone surrogate is in it
    [run] = document["runs"]
    assert run["artifacts"][0]["location"]["uri"] == "models/caf%3F.onnx"
    assert run["results"][-1]["properties"]["image"] == run["results"][-1]["properties"]["layer"] == "caf?"
    for report in (format_junit, format_markdown, format_table):
        assert "x" in report(bad)


def test_numbers_of_numpy_go_into_every_report(make_model: MakeModel, tmp_path: Path) -> None:
    find_checks()
    before = dict(registry.registered)

    @registry.check("numpy", family="file", title="Numpy", limits={"max": Limit(0, "m")})
    def numpy(subject: Subject, limits: Any) -> Verdict:
        """Gives numpy's numbers."""
        place = Where("first", np.int64(3))  # type: ignore[arg-type]
        finding = Finding("m", np.float32(0.5), np.int64(0), place)  # type: ignore[arg-type]
        details = {"array": np.arange(3), "number": [np.float32(0.5)], "pair": (1, 2)}
        return Verdict("m", np.float32(0.5), np.int64(0), place, (finding,), details=details)  # type: ignore[arg-type]

    try:
        found = audit_model(make_model(small, shape=("N", 3, 16, 16)), policy("numpy"))
        write_reports(found, junit=tmp_path / "j", sarif=tmp_path / "s", markdown=tmp_path / "m")
    finally:
        registry.registered.clear()
        registry.registered.update(before)
    given = found.check("numpy")
    assert [type(v) for v in (given.value, given.limit, given.where.channel)] == [float, float, int]
    [run] = validated((tmp_path / "s").read_text())["runs"]
    assert run["results"][0]["properties"] == {"value": 0.5, "limit": 0, "layer": "first", "channel": 3}
    [document] = json.loads(dumps(make_document(found)))["checks"]
    assert document["value"] == 0.5
    assert document["details"] == {"array": [0, 1, 2], "number": [0.5], "pair": [1, 2]}


def test_one_report_that_cannot_be_written_does_not_keep_back_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    with pytest.raises(OutputError, match=r"cannot write .*none/j.xml"):
        write_reports(MIXED, junit=tmp_path / "none" / "j.xml", sarif=tmp_path / "s", markdown=tmp_path / "m")
    assert {path.name for path in tmp_path.iterdir()} == {"s", "m", "summary.md"}
    odd = audit(result("x", "fail", value="a word"))  # what no report expects
    with pytest.raises(OutputError, match="a report cannot be written: "):
        write_reports(odd, junit=tmp_path / "j", sarif=tmp_path / "s2")


def test_targets_are_tried_without_a_trace(tmp_path: Path) -> None:
    there = tmp_path / "there.xml"
    there.write_text("as it was")
    check_targets(there, tmp_path / "new.xml", None)
    assert [path.name for path in tmp_path.iterdir()] == ["there.xml"]
    assert there.read_text() == "as it was"
    for path in (tmp_path / "none" / "x.xml", tmp_path):
        with pytest.raises(OutputError, match="cannot write"):
            check_targets(None, path)


def test_what_counts_is_what_is_shown() -> None:
    [run] = json.loads(format_sarif(MIXED))["runs"]
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == (
        [("accuracy", "error")] * 3 + [("latency", "error"), ("memory", "error")] + [("size", "warning")] * 2
    )
    assert run["invocations"][0]["executionSuccessful"] is False
    notes = {n["associatedRule"]["id"] for n in run["invocations"][0]["toolExecutionNotifications"]}
    assert notes == {"twin", "latency", "memory"}


def test_an_audit_that_checked_nothing_shows_in_every_report() -> None:
    nothing = audit(result("opset", "skipped"))
    assert not nothing.passed
    assert [r["message"]["text"] for r in json.loads(format_sarif(nothing))["runs"][0]["results"]] == [
        "nothing was checked: 1 not run"
    ]
    root = ElementTree.fromstring(format_junit(nothing))
    assert root.get("failures") == "1"
    assert "nothing was checked" in format_markdown(nothing)
    assert "nothing was checked" in format_table(nothing)


# --- JUnit ------------------------------------------------------------------------------------------------------------


def test_junit() -> None:
    root = ElementTree.fromstring(format_junit(MIXED))
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6", "failures": "2", "errors": "1", "skipped": "1",
    }  # fmt: skip
    assert [suite.get("name") for suite in root] == ["inspector.file", "inspector.behaviour"]
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert list(cases) == ["opset", "size", "twin", "latency", "memory", "accuracy"]
    assert [cases[name][0].tag for name in cases] == [
        "system-out",
        "system-out",
        "skipped",
        "failure",
        "error",
        "failure",
    ]
    failure = cases["accuracy"][0]
    assert failure.get("type") == "accuracy"
    assert "finding 2" in (failure.text or "")
    assert "value 1.5, limit 1" in (failure.text or "")
    for suite in root:
        assert int(suite.get("tests", "")) == len(suite)


def test_junit_of_a_real_audit(real: Audit) -> None:
    root = ElementTree.fromstring(format_junit(real))
    assert int(root.get("failures", "0")) >= 2
    assert sum(1 for _ in root.iter("testcase")) == len(real.checks)


# --- Markdown ---------------------------------------------------------------------------------------------------------


def test_markdown_shows_names_as_they_are() -> None:
    text = format_markdown(MIXED)
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith(("| ❌", "| ✅"))]
    unescaped = [row.replace(r"\|", "") for row in rows]
    assert all(row.count("|") == 6 for row in unescaped), rows


def test_markdown_keeps_within_a_megabyte() -> None:
    huge = audit(*(replace(MIXED.checks[2], id=f"check-{i}", message="m" * 1000) for i in range(1500)))
    text = format_markdown(huge)
    assert 900_000 < len(text.encode()) <= 1_000_000
    assert text.rstrip().endswith("*(cut: the report is too long)*")


def test_the_summary_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    write_reports(MIXED, junit=tmp_path / "j.xml", sarif=tmp_path / "s.sarif", markdown=tmp_path / "m.md")
    assert summary.read_text("utf-8") == "before\n" + (tmp_path / "m.md").read_text("utf-8") + "\n"
    assert (tmp_path / "j.xml").exists()
    assert (tmp_path / "s.sarif").exists()
    summary.write_bytes(b"x" * 999_500)
    write_reports(MIXED)
    assert summary.stat().st_size <= 1_000_000
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "s.md"))
    with pytest.raises(OutputError, match="GITHUB_STEP_SUMMARY"):
        write_reports(MIXED)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    write_reports(MIXED)


# --- JSON and the terminal --------------------------------------------------------------------------------------------


def test_json_has_the_keys_that_scripts_depend_on(real: Audit) -> None:
    for given in (MIXED, real):
        document = json.loads(dumps(make_document(given)))
        assert document["passed"] is given.passed
        for check in document["checks"]:
            assert {"id", "status", "severity", "value", "limit", "message", "where"} <= check.keys()
            assert set(check["where"]) == {"layer", "channel", "image"}
            assert check["status"] in ("pass", "warn", "fail", "error", "skipped")


def test_the_table(real: Audit) -> None:
    text = format_table(MIXED, 120)
    assert all(len(line) <= 120 for line in text.splitlines())
    assert "FAIL   accuracy" in text
    assert "BROKE  memory" in text
    assert "FAIL   latency" in text.split("not run or not judged:")[1]
    assert text.splitlines()[-1].startswith(
        "not fit to ship: 1 passed, 1 warned, 1 failed, 1 broke, 2 not run over 7 pictures"
    )
    assert "FAIL   weights-finite" in format_table(real)
    assert "and 15 more" in format_table(audit(result("x", "fail", 20)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0"),
        (12.0, "12"),
        (0.12345, "0.123"),
        (12345.6, "12346"),
        (float("nan"), "NaN"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert format_number(value) == text
    assert format_number(value, "dB") == (f"{text} dB" if text not in ("", "NaN", "inf") else text)

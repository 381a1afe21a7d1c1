"""The runner: pictures once, sums only, and nothing that did not run is ever taken for a pass."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from inspector.auditing import (
    Finding,
    Limit,
    NotChecked,
    Subject,
    Verdict,
    at_least,
    at_most,
    audit_model,
    check,
    find_checks,
)
from inspector.auditing.policy import PolicyError
from inspector.auditing.result import CheckResult, conclude
from inspector.errors import ModelError, UsageError
from inspector.model import Model, open_model
from tests.audit.networks import small
from tests.audit.pictures import pngs
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net

# --- nothing checked is never a pass ----------------------------------------------------------------------------------


def test_a_policy_that_turns_everything_off_does_not_pass(model: Model) -> None:
    everything_off = policy(checks={id: {"on": False} for id in find_checks()})
    found = audit_model(model, everything_off)
    assert not found.passed
    assert found.verdict == "nothing was checked: the policy turns every check off"


def test_checks_that_could_not_run_do_not_pass(model: Model) -> None:
    found = audit_model(model, policy("behaviour"))
    assert {c.status for c in found.checks} == {"skipped"}
    assert not found.passed
    assert found.verdict.startswith(f"nothing was checked: {len(found.checks)} not run")
    assert found.check("accuracy").message == ("not run: no pictures were given (--data, or images.data in the policy)")


@pytest.mark.parametrize(("word", "passed"), [("skip", True), ("warn", True), ("fail", False)])
def test_what_could_not_run_counts_as_the_policy_says(model: Model, word: str, passed: bool) -> None:
    found = audit_model(model, policy("opset", "accuracy", could_not_run=word))
    assert found.passed is passed
    assert found.check("accuracy").counts == {"skip": "skipped"}.get(word, word)
    assert audit_model(model, policy("opset", "accuracy", could_not_run=word, fail_on="warning")).passed is (
        word == "skip"
    )


def test_a_required_check_must_run(model: Model) -> None:
    found = audit_model(model, policy("opset", "accuracy", checks={"accuracy": {"required": True}}))
    assert (found.check("accuracy").status, found.check("accuracy").counts) == ("skipped", "fail")
    assert not found.passed


def test_what_has_no_meaning_for_a_model_is_not_missing(make_model: MakeModel, tmp_path: Path) -> None:
    fixed = open_model(make_model(small, shape=(1, 3, 16, 16)))
    found = audit_model(fixed, policy("opset", "batches", "saturated", could_not_run="fail"), data=pngs(tmp_path, 2))
    assert found.check("batches").message == "not run: the graph fixes its batch to 1"
    assert found.check("saturated").message == "not run: the model has no bounded activations"
    assert found.passed


def test_a_limit_of_none_measures_without_judging(model: Model) -> None:
    found = audit_model(model, policy("size", "opset", checks={"size": {"max_mb": "none"}}))
    size = found.check("size")
    assert (size.status, size.counts, size.unit) == ("skipped", "skipped", "MB")
    assert size.value == pytest.approx(model.graph.size / 1e6)
    assert size.message.endswith("the policy sets no limit")
    alone = audit_model(model, policy("size", checks={"size": {"max_mb": "none"}}))
    assert not alone.passed
    required = audit_model(model, policy("size", "opset", checks={"size": {"max_mb": "none", "required": True}}))
    assert not required.passed


def test_against_something_without_pictures_is_a_failure(model: Model) -> None:
    found = audit_model(model, policy("opset", "drift"), against=model)
    assert found.check("drift-layers").counts == "fail"
    assert not found.passed
    assert audit_model(model, policy("opset", "drift")).passed


@pytest.mark.parametrize("name", ["reference.onnx", "snapshot.npz"])
def test_a_reference_of_the_policy_without_pictures_is_a_failure_too(model: Model, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".npz":
        audit_model(model, policy("opset"), data=pngs(tmp_path / "p", 2), save=path)
    else:
        shutil.copy(model.path, path)
    found = audit_model(model, policy("opset", "drift", reference=str(path)))
    assert {id: found.check(id).counts for id in ("drift-layers", "drift-agreement")} == {
        "drift-layers": "fail", "drift-agreement": "fail",
    }  # fmt: skip
    assert not found.passed


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"regions": {"masks": "typo"}},
            r"the masks' folder typo \(regions.masks\) does not exist; paths are relative",
        ),
        ({"regions": {"masks": "a.file"}}, "the masks' folder a.file .* is not a folder"),
        ({"regions": {"boxes": "typo.json"}}, "the boxes typo.json cannot be read"),
        ({"regions": {"boxes": "a.file"}}, "the boxes a.file are not JSON"),
        ({"reference": "typo.onnx"}, r"the reference typo.onnx \(reference\) does not exist"),
        ({"reference": "."}, "is not a file"),
    ],
)
def test_what_the_policy_names_must_be_there(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.file").write_text("no JSON")
    with pytest.raises(PolicyError, match=message):
        audit_model(model, policy("opset", **document))
    if "reference" in document:  # another one was given
        assert audit_model(model, policy("opset", **document), against=model).passed


def test_regions_that_could_not_be_judged_are_a_failure(model: Model, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    regions = {"masks": str(tmp_path / "masks"), "avoid": [0, 0, 0.5, 0.5]}
    regional = ("cam-energy-inside", "cam-pointing-game", "cam-energy-avoided")
    data = pngs(tmp_path / "p", 2)
    found = audit_model(model, policy("opset", *regional, regions=regions), data=data)
    assert found.check("cam-energy-inside").message == "not run: no picture has a mask or a box"
    assert found.check("cam-energy-inside").counts == found.check("cam-pointing-game").counts == "fail"
    without = audit_model(model, policy("opset", *regional, regions=regions))
    assert [c.counts for c in without.checks] == ["pass", "fail", "fail", "fail"]
    assert audit_model(model, policy("opset", *regional)).passed


def test_findings_by_severity(model: Model, registered: None) -> None:
    @check("odd", family="file", title="Even", severity="warning", limits={"max": Limit(0, "odd things")})
    def odd(subject: Subject, limits: Any) -> Verdict:
        """Always odd."""
        return at_most(1, limits["max"], "one odd thing")

    assert audit_model(model, policy("odd")).check("odd").status == "warn"
    assert audit_model(model, policy("odd")).passed
    assert not audit_model(model, policy("odd", fail_on="warning")).passed
    harder = audit_model(model, policy("odd", checks={"odd": {"severity": "error"}}))
    assert (harder.check("odd").status, harder.passed) == ("fail", False)
    assert harder.check("odd").findings == (Finding("one odd thing", 1, 0),)


@pytest.mark.parametrize(("word", "passed"), [("skip", True), ("warn", True), ("fail", False)])
def test_a_check_that_breaks_does_not_break_the_others(model: Model, registered: None, word: str, passed: bool) -> None:
    @check("breaks", family="file", title="Breaks")
    def breaks(subject: Subject, limits: Any) -> Verdict:
        """Raises."""
        raise ZeroDivisionError("by zero")

    found = audit_model(model, policy("opset", "breaks", broken=word))
    assert found.check("breaks").status == "error"
    assert found.check("breaks").message == "broke: ZeroDivisionError: by zero"
    assert found.check("opset").status == "pass"
    assert found.passed is passed


def test_the_sum_in_words() -> None:
    def result(status: Any, counts: Any = None) -> CheckResult:
        return CheckResult("x", "file", "t", status, "error", counts or status, "m")

    assert conclude([]) == (False, "nothing was checked: the policy turns every check off")
    assert conclude([result("skipped")]) == (False, "nothing was checked: 1 not run")
    assert conclude([result("error", "warn")])[0] is False  # it broke, so nothing ran
    assert conclude([result("pass"), result("warn"), result("skipped")]) == (
        True, "passed: 1 passed, 1 warned, 1 not run",
    )  # fmt: skip
    assert conclude([result("pass"), result("error", "fail")]) == (False, "not fit to ship: 1 passed, 1 broke")


def test_numbers_that_are_none_fail() -> None:
    assert at_most(float("nan"), 1, "m").findings
    assert at_least(float("nan"), 1, "m").findings
    assert not at_most(1, 1, "m").findings
    assert not at_least(1, 1, "m").findings
    assert at_most(float("nan"), None, "m").judged is False


# --- what cannot be opened --------------------------------------------------------------------------------------------


def test_a_model_that_is_refused_is_a_finding(make_model: MakeModel, tmp_path: Path) -> None:
    def custom(net: Net, x: str) -> str:
        return net("Mystery", net.conv(x, 3, 4), domain="my.company")

    path = make_model(custom, my_company=1)
    found = audit_model(path, policy())
    assert not found.passed
    assert found.check("opens").status == "fail"
    assert "my.company:Mystery" in found.check("opens").message
    assert found.check("accuracy").message == "not run: the model cannot be opened"
    assert len(found.sha256) == 64
    assert not audit_model(path, policy("accuracy")).passed


def test_what_is_no_model_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a model at all")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("x.onnx", "empty.onnx", "none.onnx", "."):
        with pytest.raises(ModelError):
            audit_model(tmp_path / name, policy("file"))


def test_a_reference_that_cannot_be_opened(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the reference: there is no file"):
        audit_model(model, policy("file"), against=tmp_path / "old.onnx")


def test_labelled_yes_needs_a_folder(model: Model) -> None:
    with pytest.raises(UsageError, match="names no folder"):
        audit_model(model, policy("file", images={"labelled": "yes"}))


def test_the_same_seed_gives_the_same_result(model: Model, tmp_path: Path) -> None:
    data = pngs(tmp_path, 12, ("cat", "dog"))
    first, again = (audit_model(model, policy("representation", "behaviour"), data=data, seed=4) for _ in range(2))
    assert [(c.id, c.value, c.message) for c in first.checks] == [(c.id, c.value, c.message) for c in again.checks]
    shutil.rmtree(data / "cat")
    other = audit_model(model, policy("behaviour"), data=data)
    assert "over 1 classes" in other.check("balanced-accuracy").message


def test_not_checked_is_one_line() -> None:
    assert NotChecked("two\nlines").reason == "two lines"


# --- arguments of the call --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model cannot be 3 (int); give a Model or the path of an .onnx file"),
        ({"model": None}, "model cannot be None (NoneType); give a Model or the path"),
        (
            {"policy": {"seed": 1}},
            "policy cannot be {'seed': 1} (dict); give a Policy, the path of a TOML file, or None",
        ),
        ({"data": ["a.png"]}, "data cannot be ['a.png'] (list); give the path of a folder of pictures, or None"),
        ({"against": 2.5}, "against cannot be 2.5 (float); give a Model, a Snapshot, the path of one, or None"),
        ({"save": True}, "save cannot be True (bool); give the path of a file to write, or None"),
        ({"seed": -1}, "seed cannot be -1 (int); give a whole number from 0 up, or None"),
        ({"seed": "7"}, "seed cannot be '7' (str); give a whole number from 0 up, or None"),
    ],
)
def test_arguments_of_the_wrong_kind_say_what_was_given(model: Model, arguments: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        audit_model(**{"model": model, **arguments})
    assert str(caught.value).startswith(message)


def test_a_policy_may_be_a_path(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "strict.toml"
    file.write_text("seed = 9\n[checks]\n" + "\n".join(f"{id}.on = false" for id in find_checks() if id != "opset"))
    for given in (file, str(file)):
        found = audit_model(model, given)
        assert ([check.id for check in found.checks], found.seed, found.policy) == (["opset"], 9, str(file))
    assert audit_model(model.path, file, seed=3).seed == 3
    with pytest.raises(PolicyError, match="there is no policy"):
        audit_model(model, tmp_path / "none.toml")

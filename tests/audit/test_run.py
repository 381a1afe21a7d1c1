"""The runner: pictures once, sums only, and nothing that did not run is ever taken for a pass."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector.audit import (
    Finding,
    Limit,
    NotChecked,
    Probe,
    Subject,
    Verdict,
    at_least,
    at_most,
    audit_model,
    catalogue,
    check,
    known_checks,
    registry,
)
from inspector.audit.forward_pass import ForwardPass
from inspector.audit.pictures import find_entries, spread
from inspector.audit.policy import PolicyError
from inspector.audit.result import CheckResult, conclude
from inspector.errors import ImageError, ModelError, UsageError
from inspector.metadata import KEY, Metadata
from inspector.model import Model, open_model
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net


def small(net: Net, x: str) -> str:
    """conv, relu, conv, relu, pool, linear: three classes."""
    x = net("Relu", net.conv(x, 3, 6, 3), out="first")
    x = net("Relu", net.conv(x, 6, 8, 3, stride=2), out="second")
    x = net("Flatten", net("GlobalAveragePool", x))
    return net("Gemm", x, net.weight((3, 8), "fc.weight"), net.const(np.zeros(3), "fc.bias"), transB=1, out="logits")


@pytest.fixture
def model(make_model: MakeModel) -> Model:
    metadata = Metadata(labels=("cat", "dog", "fox")).dumps()
    return open_model(make_model(small, shape=("N", 3, 16, 16), metadata={KEY: metadata}))


def folder(path: Path, *names: str, size: int = 16) -> Path:
    rng = np.random.default_rng(1)
    for name in names:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(target)
    return path


def pngs(path: Path, count: int, classes: tuple[str, ...] = ()) -> Path:
    names = [f"{classes[i % len(classes)]}/{i:03d}.png" if classes else f"{i:03d}.png" for i in range(count)]
    return folder(path, *names)


@pytest.fixture
def registered() -> Iterator[None]:
    """Checks that a test adds are gone after it."""
    known_checks()
    before = dict(registry.registered)
    yield
    registry.registered.clear()
    registry.registered.update(before)


# --- nothing checked is never a pass ----------------------------------------------------------------------------------


def test_a_policy_that_turns_everything_off_does_not_pass(model: Model) -> None:
    everything_off = policy(checks={id: {"on": False} for id in known_checks()})
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


# --- a project's own checks -------------------------------------------------------------------------------------------


def test_a_project_adds_a_check_with_a_probe(model: Model, tmp_path: Path, registered: None) -> None:
    class Brightest(Probe):
        layers = True

        def __init__(self, subject: Subject) -> None:
            super().__init__(subject)
            self.found = -np.inf

        def look(self, forward: ForwardPass) -> None:
            self.found = max(self.found, float(forward.layers["first"].high.max()))

    @check(
        "not-too-bright", family="project", title="No activation is too bright",
        limits={"max": Limit(1e-9, "largest value")}, probes=(Brightest,),
    )  # fmt: skip
    def not_too_bright(subject: Subject, limits: Any, probe: Brightest) -> Verdict:
        """The largest value of the first layer."""
        return at_most(probe.found, limits["max"], f"the brightest is {probe.found:.1f}")

    found = audit_model(model, policy("opset", "not-too-bright"), data=pngs(tmp_path, 3))
    assert found.checks[-1].id == "not-too-bright"
    assert found.check("not-too-bright").status == "fail"
    assert found.check("not-too-bright").value > 0


def test_checks_of_installed_packages(monkeypatch: pytest.MonkeyPatch, registered: None) -> None:
    class Point:
        name, value = "mine", "mypackage.checks"

        def __init__(self, error: Exception | None = None) -> None:
            self.error = error

        def load(self) -> None:
            if self.error:
                raise self.error

            @check("theirs", family="file", title="Theirs")
            def theirs(subject: Subject, limits: Any) -> Verdict:
                """Fine."""
                return Verdict("fine")

    monkeypatch.setattr(catalogue, "_loaded", catalogue._loaded - {catalogue.GROUP})
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [Point()] if group == "inspector.checks" else [])
    assert "theirs" in known_checks()
    monkeypatch.setattr(catalogue, "_loaded", catalogue._loaded - {catalogue.GROUP})
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [Point(RuntimeError("no"))])
    with pytest.raises(UsageError, match=r"the checks 'mine' .mypackage.checks. cannot be loaded: RuntimeError: no"):
        known_checks()


def test_ids_are_checked(registered: None) -> None:
    with pytest.raises(UsageError, match="not lower case words with dashes"):
        check("Not This", family="file", title="t")(lambda s, m: Verdict("m"))
    with pytest.raises(UsageError, match="two checks are called 'opset'"):
        check("opset", family="file", title="t")(lambda s, m: Verdict("m"))


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_folders_are_classes_by_label_or_index(model: Model, tmp_path: Path) -> None:
    found = find_entries(model, folder(tmp_path, "cat/a.png", "Dog/deep/b.png", "2/c.png"))
    assert found.labelled
    assert [(e.key, e.label) for e in found.entries] == [("2/c.png", 2), ("Dog/deep/b.png", 1), ("cat/a.png", 0)]


@pytest.mark.parametrize(
    ("names", "labelled", "outcome"),
    [
        (("a.png",), "auto", "has pictures outside of any class folder|no folders named after classes"),
        (("wolf/a.png", "bear/a.png"), "auto", "'bear', 'wolf' of .* are no classes of the model"),
        (("cat/a.png",), "no", "the policy says that the folders are no classes"),
    ],
)
def test_pictures_without_classes(
    model: Model, tmp_path: Path, names: tuple[str, ...], labelled: Any, outcome: str
) -> None:
    found = find_entries(model, folder(tmp_path, *names), labelled)
    assert not found.labelled
    assert found.entries[0].label is None
    import re

    assert re.search(outcome, found.unlabelled)


@pytest.mark.parametrize(
    ("names", "labelled", "message"),
    [
        (("cat/a.png", "wolf/b.png"), "auto", "'wolf' of .* is no class of the model"),
        (("cat/a.png", "b.png"), "auto", "has pictures outside of any class folder"),
        (("wolf/b.png",), "yes", "is no class"),
        (("b.png",), "yes", "has no folders to take classes from"),
    ],
)
def test_a_folder_that_is_half_labelled_is_an_error(
    model: Model, tmp_path: Path, names: tuple[str, ...], labelled: Any, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        find_entries(model, folder(tmp_path, *names), labelled)


def test_folders_that_are_none(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        audit_model(model, policy("opset"), data=tmp_path / "none")
    with pytest.raises(ImageError, match="holds no pictures"):
        audit_model(model, policy("opset"), data=tmp_path)


def test_spread() -> None:
    assert spread(5, 0) == spread(5, 9) == (0, 1, 2, 3, 4)
    assert spread(10, 2) == (2, 7)
    assert spread(100, 3) == (16, 50, 83)
    assert all(len(set(spread(n, k))) == min(n, k or n) for n in range(1, 40) for k in range(n + 2))


def test_pictures_that_cannot_be_read_are_reported_and_left_out(model: Model, tmp_path: Path) -> None:
    pngs(tmp_path, 9)
    (tmp_path / "004.png").write_bytes(b"no picture")
    found = audit_model(model, policy("pictures-readable", "finite-on-images", "dead-channels"), data=tmp_path)
    readable = found.check("pictures-readable")
    assert (readable.status, readable.value) == ("fail", pytest.approx(1 / 9))
    assert readable.where.image is not None
    assert readable.where.image.endswith("004.png")
    finite = found.check("finite-on-images")
    assert finite.status == "pass"
    assert finite.message == f"all {len(model.layers)} layers are finite on 8 pictures"
    assert found.check("dead-channels").status != "skipped"
    # What could not be read does not count among those that a channel needs to be called dead.
    (tmp_path / "005.png").write_bytes(b"no picture")
    found = audit_model(model, policy("dead-channels"), data=tmp_path)
    assert found.check("dead-channels").message == "not run: 7 pictures are too few; the policy asks for 8"


def test_when_none_can_be_read_nothing_passes(model: Model, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"no picture")
    found = audit_model(model, policy("pictures-readable", "finite-on-images"), data=tmp_path)
    assert found.check("pictures-readable").status == "fail"
    assert found.check("finite-on-images").message == "not run: none of the pictures could be read"
    assert not found.passed


def test_a_model_that_cannot_run_is_an_error_of_each_check(make_model: MakeModel, tmp_path: Path) -> None:
    def refused(net: Net, x: str) -> str:
        return net.conv(net("Reshape", x, net.const(np.array([1, 5, 7, 7]))), 5, 2)

    found = audit_model(
        make_model(refused, shape=(1, 3, 8, 8)), policy("opset", "finite-on-images"), data=pngs(tmp_path / "p", 2)
    )
    assert found.check("opset").status == "pass"
    assert found.check("finite-on-images").status == "error"
    assert "onnxruntime cannot" in found.check("finite-on-images").message
    assert not found.passed


def test_each_picture_is_run_once_for_all_checks(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    real = Model.layer_values

    def counting(self: Model, *arguments: Any, **options: Any) -> Any:
        runs.append(1)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Model, "layer_values", counting)
    chosen = policy("representation", "finite-on-images", "accuracy", "confusion", "class-recall")
    audit_model(model, chosen, data=pngs(tmp_path, 12, ("cat", "dog")))
    assert len(runs) == 12


def test_memory_does_not_grow_with_the_pictures(model: Model, tmp_path: Path) -> None:
    pngs(tmp_path / "few", 20, ("cat", "dog"))
    pngs(tmp_path / "many", 240, ("cat", "dog"))
    chosen = policy("representation", "finite-on-images", "behaviour", images={"sample": 8})
    audit_model(model, chosen, data=tmp_path / "few")  # sessions and imports
    peaks = []
    for name in ("few", "many"):
        tracemalloc.start()
        audit_model(model, chosen, data=tmp_path / name)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 220 more pictures leave a path and a prediction each.
    assert peaks[1] - peaks[0] < 220 * 2500, peaks


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

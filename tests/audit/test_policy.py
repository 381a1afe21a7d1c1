"""The policy: read word by word, defaults, places it is found in, and the file that --init writes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from inspector.auditing import (
    Limit,
    Limits,
    Subject,
    Verdict,
    check,
    find_checks,
    find_policy,
    format_template,
    load_policy,
    make_default_policy,
)
from inspector.auditing.catalogue import FAMILIES, find_check_files
from inspector.auditing.policy import PolicyError
from inspector.auditing.policy_reader import parse_policy


def parsed(**document: Any) -> Any:
    return parse_policy(document, Path("somewhere"), "test")


def test_the_file_that_init_writes_is_the_built_in_policy(tmp_path: Path) -> None:
    file = tmp_path / "audit.toml"
    file.write_text(format_template(), "utf-8")
    read, built_in = load_policy(file), make_default_policy()
    assert {i: (r.on, r.severity, r.required, dict(r.limits)) for i, r in read.rules.items()} == {
        i: (r.on, r.severity, r.required, dict(r.limits)) for i, r in built_in.rules.items()
    }
    assert (read.fail_on, read.could_not_run, read.broken, read.seed) == ("error", "skip", "fail", 0)
    assert (read.images, read.regions, read.reference) == (built_in.images, built_in.regions, None)


def test_every_setting_in_it_has_a_comment() -> None:
    for line in format_template().splitlines():
        name = line.split(" = ")[0]
        if " = " in line and not line.startswith("#") and name not in ("on", "severity"):
            assert "#" in line, line


def test_every_check_has_a_file_a_family_and_a_sentence() -> None:
    checks = find_checks()
    assert set(checks) >= set(find_check_files())
    assert len(checks) >= 58, "a check is gone"
    modules = [one.run.__module__ for one in checks.values()]
    assert len(set(modules)) == len(modules), "one file for each check"
    for one in checks.values():
        assert one.family in FAMILIES
        assert one.help.endswith((".", ")")), one.id
        assert not one.title.endswith(".")
    assert [c.family for c in checks.values()] == sorted((c.family for c in checks.values()), key=FAMILIES.index)


def test_values_arrive() -> None:
    policy = parsed(
        fail_on="warning", could_not_run="fail", broken="warn", seed=7, reference="old.onnx",
        images={"data": "pictures", "max": 50, "sample": 3, "explain": 2, "labelled": "no"},
        regions={"masks": "masks", "avoid": [0, 0.5, 1, 1]},
        checks={"accuracy": {"min": 0.9, "required": True}, "twin": {"on": False}, "size": {"max_mb": "none"},
                "custom-domains": {"allowed": ["com.microsoft"], "severity": "error"}},
    )  # fmt: skip
    assert (policy.fail_on, policy.could_not_run, policy.broken, policy.seed) == ("warning", "fail", "warn", 7)
    assert policy.reference == Path("somewhere/old.onnx")
    assert policy.images.data == Path("somewhere/pictures")
    assert (policy.images.max, policy.images.sample, policy.images.explain) == (50, 3, 2)
    assert policy.regions.masks == Path("somewhere/masks")
    assert policy.regions.avoid == (0, 0.5, 1, 1)
    assert policy.regions.objects
    assert policy.rules["accuracy"].limits["min"] == 0.9
    assert policy.rules["accuracy"].required
    assert not policy.rules["twin"].on
    assert policy.rules["size"].limits["max_mb"] is None
    assert policy.rules["custom-domains"].limits["allowed"] == ["com.microsoft"]
    assert policy.rules["custom-domains"].severity == "error"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"fail_onn": "error"}, r"fail_onn is unknown \(nearest: fail_on,"),
        ({"checks": {"acuracy": {}}}, r"checks.acuracy is unknown \(nearest: accuracy"),
        ({"checks": {"accuracy": {"minimum": 1}}}, r"checks.accuracy.minimum is unknown \(nearest: min,"),
        ({"checks": {"accuracy": {"min": "high"}}}, r'checks.accuracy.min = "high" is not a number or "none"'),
        ({"checks": {"accuracy": {"min": True}}}, "is not a number"),
        ({"checks": {"accuracy": {"min": float("nan")}}}, "is not a number"),
        ({"checks": {"accuracy": {"severity": "fatal"}}}, "is none of error, warning"),
        ({"checks": {"accuracy": {"on": 1}}}, "checks.accuracy.on = 1 is not true or false"),
        ({"checks": {"accuracy": 3}}, "checks.accuracy is not a table"),
        ({"checks": {"metadata-present": {"labels": "yes"}}}, "is not a truth value"),
        ({"checks": {"custom-domains": {"allowed": "x"}}}, "is not a list"),
        ({"seed": -1}, "seed = -1 is not a whole number from 0 up"),
        ({"images": {"labelled": "maybe"}}, "is none of auto, yes, no"),
        ({"images": {"data": 3}}, "images.data = 3 is not a path"),
        ({"images": []}, "images is not a table"),
        ({"regions": {"avoid": [0, 0, 0, 1]}}, "is not .left, top, right, bottom. as shares from 0 to 1"),
        ({"regions": {"box": [0, 0, 400, 300]}}, "as shares from 0 to 1"),
        ({"seed": 10**5000}, r"seed = \(too long to show\) is not a whole number from 0 up"),
        ({"checks": {"size": {"max_mb": 10**400}}}, 'max_mb = 1000.* is not a number or "none"'),
        ({"checks": {"size": {"max_mb": float("inf")}}}, 'is not a number or "none"'),
        ({"checks": {"size": {"max_mb": -1}}}, "checks.size.max_mb = -1 is not a number from 0"),
        ({"checks": {"consistent-jpeg": {"quality": "none"}}}, 'quality = "none" is not a whole number'),
        ({"checks": {"consistent-jpeg": {"quality": 96}}}, "quality = 96 is not a whole number from 1 to 95"),
        ({"checks": {"consistent-shift": {"pixels": 0.5}}}, "pixels = 0.5 is not a whole number"),
        ({"checks": {"consistent-shift": {"pixels": 0}}}, "pixels = 0 is not a whole number from 1 to 1000"),
        ({"checks": {"consistent-noise": {"sigma": "none"}}}, 'sigma = "none" is not a number'),
        ({"checks": {"calibration": {"bins": -3}}}, "bins = -3 is not a whole number from 1 to 10000"),
        ({"checks": {"accuracy": {"min": 60}}}, "checks.accuracy.min = 60 is not a number from 0 to 1"),
        ({"checks": {"custom-domains": {"allowed": "none"}}}, 'allowed = "none" is not a list'),
        ({"checks": {"external-data": {"allowed": "none"}}}, 'allowed = "none" is not a truth value'),
    ],
)
def test_every_mistake_is_named(document: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        parse_policy(document, Path(), "test")
    assert "\n" not in str(caught.value)
    assert "--init" in caught.value.hint


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(PolicyError, match=r"a is unknown.*b is unknown.* and 1 more"):
        parsed(a=1, b=2, c=3, d=4, e=5, f=6)
    with pytest.raises(PolicyError) as caught:
        parsed(
            fail_on="never", seed=-1, images={"max": 1.5}, regions={"box": [1]},
            checks={"accuracy": {"min": 60, "minn": 1}, "twins": {}},
        )  # fmt: skip
    for part in (
        'fail_on = "never" is none of error, warning', "seed = -1 is not a whole number from 0 up",
        "images.max = 1.5 is not a whole number from 0 up", "regions.box = [1] is not [left, top, right, bottom]",
        "checks.accuracy.min = 60 is not a number from 0 to 1", " and 2 more; `inspector audit --init`",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_names_that_a_class_of_pydantic_has_are_no_trouble(registered: None) -> None:
    @check("copy", family="project", title="Copied", limits={"model_dump": Limit(1, "m"), "schema": Limit([], "m")})
    def copy(subject: Subject, limits: Limits) -> Verdict:
        """Fine."""
        return Verdict("fine")

    rule = parsed(checks={"copy": {"model_dump": 2, "schema": [3]}}).rules["copy"]
    assert dict(rule.limits) == {"model_dump": 2, "schema": [3]}
    with pytest.raises(PolicyError, match=r"checks.copy.schemas is unknown \(nearest: schema,"):
        parsed(checks={"copy": {"schemas": 1}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = ", "is not TOML"),
        (b"seed = 1" + b"0" * 5000, "is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 1_100_000, "larger than 1 MB"),
    ],
)
def test_a_file_that_is_no_policy(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(content)
    with pytest.raises(PolicyError, match=message):
        load_policy(file)
    with pytest.raises(PolicyError, match="there is no policy"):
        load_policy(tmp_path / "none.toml")


def test_where_it_is_found(tmp_path: Path) -> None:
    assert find_policy(folder=tmp_path).source == "built in"
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.other]\nx = 1\n")
    assert find_policy(folder=tmp_path).source == "built in"
    with pytest.raises(PolicyError, match=r"has no \[tool.inspector.audit\]"):
        load_policy(project)
    for content, name in (
        ('[tool.inspector]\naudit = "strict"\n', "tool.inspector.audit"), ('[tool]\ninspector = 1\n', "tool.inspector"),
        ("tool = []\n", "tool"),
    ):  # fmt: skip
        project.write_text(content)
        with pytest.raises(PolicyError, match=f"^{name} = .* is not a table"):
            find_policy(folder=tmp_path)
    project.write_text("[tool.inspector.audit]\nseed = 5\n[tool.inspector.audit.checks.accuracy]\nmin = 0.25\n")
    found = find_policy(folder=tmp_path)
    assert (found.seed, found.rules["accuracy"].limits["min"]) == (5, 0.25)
    assert found.source == "pyproject.toml [tool.inspector.audit]"
    other = tmp_path / "other.toml"
    other.write_text("seed = 6\n")
    assert find_policy(other, tmp_path).seed == 6
    assert tomllib.loads(format_template())["images"]["sample"] == 24


def test_defaults_keep_to_their_own_bounds() -> None:
    for one in find_checks().values():
        for name, limit in one.limits.items():
            assert not limit.expected("none" if limit.default is None else limit.default), (one.id, name)


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        (Limit(0, "m"), (1, -2.5, "none"), (True, "1", [], None)),
        (Limit(None, "m", low=0), (0, "none"), (-1, False)),
        (Limit(1, "m", kind="whole", high=3), (3, -1), (4, 1.0, "none")),
        (Limit(None, "m", kind="whole"), (3, "none"), (1.5,)),
        (Limit(True, "m"), (False,), (0, "none", "true")),
        (Limit("a", "m"), ("b", "none"), (0,)),
        (Limit([], "m"), ([1],), ("none", {})),
    ],
)
def test_what_a_setting_takes(limit: Limit, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    assert [limit.expected(value) for value in good] == [""] * len(good)
    assert all(limit.expected(value) for value in bad)

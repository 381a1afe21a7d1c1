"""What an audit demands: read from TOML, checked word by word, written with comments."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from inspector.audit.result import Severity
from inspector.audit.table import Check, Limits, known_checks
from inspector.errors import InspectorError, nearest

FILE = "inspector-audit.toml"
"""What ``inspector audit --init`` writes."""

MAX_BYTES = 1024 * 1024
Counts = Literal["skip", "warn", "fail"]
Box = tuple[float, float, float, float]


class PolicyError(InspectorError):
    """The policy cannot be read, or says something that means nothing."""

    kind = "policy"


@dataclass(frozen=True)
class Images:
    """Which pictures an audit looks at.

    data: folder, or None. labelled: whether its folders are classes; auto: when their names are. max: pictures at
    most, evenly spread over the folder; 0 takes all. sample: pictures for what needs several runs each (consistency,
    differences layer by layer). explain: pictures for the class activation maps, of each class where a region is to be
    avoided.
    """

    data: Path | None = None
    labelled: Literal["auto", "yes", "no"] = "auto"
    max: int = 0
    sample: int = 24
    explain: int = 8


@dataclass(frozen=True)
class Regions:
    """Where the object is, and where the network must not look.

    masks: folder with a mask per picture under the picture's own relative path, white where the object is.
    boxes: JSON file, {picture: [[left, top, right, bottom], ...]} in pixels of the upright picture.
    box, avoid: (left, top, right, bottom) as shares of width and height, the same for every picture.
    """

    masks: Path | None = None
    boxes: Path | None = None
    box: Box | None = None
    avoid: Box | None = None

    @property
    def objects(self) -> bool:
        """Whether anything says where the object is."""
        return any((self.masks, self.boxes, self.box))


@dataclass(frozen=True)
class Rule:
    """What the policy says of one check. required: that it could not run is a failure, whatever the policy says of
    the others."""

    on: bool
    severity: Severity
    required: bool
    limits: Limits


@dataclass(frozen=True)
class Policy:
    """The demands of one audit. Made by :func:`load_policy` or :func:`default_policy`.

    fail_on: the severity from which findings fail the audit. could_not_run: what a check counts as that lacks what it
    needs (torch, labels, pictures, a reference). broken: what a check counts as that raised, or whose model did.
    seed: of noise and random masks. reference: a model for drift and cost, if none is given with the call.
    rules: by check id. source: where it was read.
    """

    rules: Mapping[str, Rule]
    fail_on: Severity = "error"
    could_not_run: Counts = "skip"
    broken: Counts = "fail"
    seed: int = 0
    images: Images = field(default_factory=Images)
    regions: Regions = field(default_factory=Regions)
    reference: Path | None = None
    source: str = "built in"


def default_policy() -> Policy:
    """The built-in policy: every check as its own file says."""
    return parse_policy({}, Path(), "built in")


def find_policy(given: str | os.PathLike[str] | None = None, folder: Path | None = None) -> Policy:
    """The policy file that is given, else ``[tool.inspector.audit]`` of the pyproject.toml in `folder` (default: the
    current one), else the built-in one. Raises PolicyError."""
    if given is not None:
        return load_policy(given)
    project = (folder or Path()) / "pyproject.toml"
    if project.is_file():
        table = _project_table(_read(project))
        if table is not None:
            return parse_policy(table, project.parent, f"{project.name} [tool.inspector.audit]")
    return default_policy()


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """A policy from a TOML file; of a pyproject.toml its ``[tool.inspector.audit]``. Raises PolicyError."""
    file = Path(path)
    document: Mapping[str, Any] = _read(file)
    if file.name == "pyproject.toml":
        table = _project_table(document)
        if table is None:
            raise PolicyError(f"{file} has no [tool.inspector.audit]", "add the table, or give a policy file")
        document = table
    return parse_policy(document, file.parent, str(file))


def parse_policy(document: Mapping[str, Any], folder: Path, source: str) -> Policy:
    """A policy from its document. folder: what its paths are relative to. Raises PolicyError with all that is wrong."""
    return _Reader(folder, source).policy(document)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise PolicyError(f"{file} is larger than 1 MB", "a policy is a short TOML file")
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise PolicyError(f"there is no policy {file}", "`inspector audit --init` writes one with comments") from None
    except OSError as error:
        raise PolicyError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise PolicyError(f"{file} is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # also of an integer with more digits than Python reads
        raise PolicyError(f"{file} is not TOML: {error}") from None


def _project_table(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    here: Any = document
    name = ""
    for key in ("tool", "inspector", "audit"):
        name = f"{name}.{key}".lstrip(".")
        here = here.get(key)
        if here is None:
            return None
        if not isinstance(here, Mapping):
            # Left aside, the built-in policy would be taken for what is written there.
            raise PolicyError(
                f"{name} = {_shown(here)} in pyproject.toml is not a table", "write [tool.inspector.audit]"
            )
    return cast(Mapping[str, Any], here)


class _Reader:
    """Reads one document and gathers what is wrong with it, so that all of it can be said at once."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source
        self.problems: list[str] = []

    def policy(self, document: Mapping[str, Any]) -> Policy:
        checks = known_checks()
        top = self.known(document, ("fail_on", "could_not_run", "broken", "seed", "reference", "images", "regions",
                                    "checks"), "")  # fmt: skip
        images = self.known(self.table(top, "images"), [f.name for f in fields(Images)], "images.")
        regions = self.known(self.table(top, "regions"), [f.name for f in fields(Regions)], "regions.")
        rules = self.known(self.table(top, "checks"), list(checks), "checks.")
        counts = ("skip", "warn", "fail")
        policy = Policy(
            rules={id: self.rule(check, self.table(rules, id, "checks.")) for id, check in checks.items()},
            fail_on=self.word(top, "fail_on", ("error", "warning"), "error"),
            could_not_run=self.word(top, "could_not_run", counts, "skip"),
            broken=self.word(top, "broken", counts, "fail"),
            seed=self.whole(top, "seed", 0),
            images=Images(
                data=self.path(images, "data", "images."),
                labelled=self.word(images, "labelled", ("auto", "yes", "no"), "auto", "images."),
                max=self.whole(images, "max", 0, "images."),
                sample=self.whole(images, "sample", Images.sample, "images."),
                explain=self.whole(images, "explain", Images.explain, "images."),
            ),
            regions=Regions(
                masks=self.path(regions, "masks", "regions."),
                boxes=self.path(regions, "boxes", "regions."),
                box=self.box(regions, "box"),
                avoid=self.box(regions, "avoid"),
            ),
            reference=self.path(top, "reference"),
            source=self.source,
        )
        if self.problems:
            more = f" and {len(self.problems) - 5} more" if len(self.problems) > 5 else ""
            raise PolicyError(
                f"the policy ({self.source}) is malformed: {'; '.join(self.problems[:5])}{more}",
                "`inspector audit --init` writes one with every setting",
            )
        return policy

    def rule(self, check: Check, given: Mapping[str, Any]) -> Rule:
        at = f"checks.{check.id}."
        given = self.known(given, ("on", "severity", "required", *check.limits), at)
        limits = {name: limit.default for name, limit in check.limits.items()}
        for name in check.limits:
            if name in given:
                limits[name] = self.limit(check, name, given[name], at)
        return Rule(
            on=self.truth(given, "on", check.on, at),
            severity=self.word(given, "severity", ("error", "warning"), check.severity, at),
            required=self.truth(given, "required", False, at),
            limits=Limits(limits),
        )

    def limit(self, check: Check, name: str, value: Any, at: str) -> Any:
        if expected := check.limits[name].expected(value):
            self.problems.append(f"{at}{name} = {_shown(value)} is not {expected}")
        # TOML has no null.
        return None if value == "none" and not isinstance(check.limits[name].default, str) else value

    def known(self, table: Mapping[str, Any], names: Sequence[str], at: str) -> Mapping[str, Any]:
        for key in table:
            if key not in names:
                near = ", ".join(nearest(key, names)) if names else "nothing"
                self.problems.append(f"{at}{key} is unknown (nearest: {near})")
        return table

    def table(self, table: Mapping[str, Any], key: str, at: str = "") -> Mapping[str, Any]:
        value = table.get(key, {})
        if not isinstance(value, Mapping):
            self.problems.append(f"{at}{key} is not a table")
            return {}
        return value

    def word(self, table: Mapping[str, Any], key: str, words: Sequence[str], default: str, at: str = "") -> Any:
        value = table.get(key, default)
        if value not in words:
            self.problems.append(f"{at}{key} = {_shown(value)} is none of {', '.join(words)}")
        return value

    def whole(self, table: Mapping[str, Any], key: str, default: int, at: str = "") -> int:
        value = table.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            self.problems.append(f"{at}{key} = {_shown(value)} is not a whole number from 0 up")
            return default
        return value

    def truth(self, table: Mapping[str, Any], key: str, default: bool, at: str) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            self.problems.append(f"{at}{key} = {_shown(value)} is not true or false")
        return bool(value)

    def path(self, table: Mapping[str, Any], key: str, at: str = "") -> Path | None:
        value = table.get(key, "")
        if not isinstance(value, str) or "\0" in value:
            self.problems.append(f"{at}{key} = {_shown(value)} is not a path")
            return None
        return self.folder / value if value else None

    def box(self, table: Mapping[str, Any], key: str) -> Box | None:
        value = table.get(key, [])
        if value == []:
            return None
        numbers = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        if not numbers or len(value) != 4 or not (0 <= value[0] < value[2] <= 1 and 0 <= value[1] < value[3] <= 1):
            self.problems.append(
                f"regions.{key} = {_shown(value)} is not [left, top, right, bottom] as shares from 0 to 1"
            )
            return None
        return cast(Box, tuple(map(float, value)))


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, default=str)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        return "(too long to show)"
    return text if len(text) <= 40 else text[:39] + "…"


def template() -> str:
    """The built-in policy as TOML with a comment on every setting; reading it back gives the same policy."""
    checks = known_checks()
    lines = [_HEAD]
    family = ""
    for check in checks.values():
        if check.family != family:
            family = check.family
            lines.append(f"\n# --- {family} {'-' * (110 - len(family))}")
        lines += ["", f"# {check.title}.", f"[checks.{check.id}]"]
        lines.append(f"on = {str(check.on).lower()}")
        lines.append(f'severity = "{check.severity}"')
        for name, limit in check.limits.items():
            lines.append(f"{name} = {_toml(limit.default)}  # {limit.meaning}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    return json.dumps(value) if not isinstance(value, bool) else str(value).lower()


_HEAD = """\
# What `inspector audit` demands of a model. Every value here is the built-in one: leave out what you do not change.
# In a pyproject.toml the same goes under [tool.inspector.audit], [tool.inspector.audit.checks.accuracy] and so on.
# Paths are relative to this file. A limit of "none" measures without judging.

fail_on = "error"        # "warning": what only warns fails the audit too
could_not_run = "skip"   # what a check counts as that lacks something (torch, labels, a reference): skip, warn, fail
broken = "fail"          # what a check counts as that raised, or whose model did: skip, warn, fail
seed = 0                 # of noise and random masks
reference = ""           # model or snapshot for drift and cost, where --against gives none

# Any [checks.NAME] also takes `required = true`: that it could not run is then a failure.

[images]
data = ""                # folder of pictures, where --data gives none
labelled = "auto"        # its folders are classes, by label or index: yes, no, auto (when the names are)
max = 0                  # pictures at most, evenly spread; 0: all
sample = 24              # pictures for what needs several runs each: consistency, drift by layer
explain = 8              # pictures whose class activation maps are judged; so many of each class for regions.avoid

[regions]
masks = ""               # folder of masks under the pictures' own relative paths, white where the object is
boxes = ""               # JSON file: {"cat/1.jpg": [[left, top, right, bottom], ...]} in pixels
box = []                 # or one box for all pictures, as shares of width and height: [0.1, 0.1, 0.9, 0.9]
avoid = []               # where the network must not look, such as a watermark, in the same form"""

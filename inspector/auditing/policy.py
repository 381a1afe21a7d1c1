"""What an audit demands, as data. :mod:`inspector.auditing.policy_reader` reads it from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from inspector.auditing.limits import Limits
from inspector.auditing.result import Severity
from inspector.errors import InspectorError

FILE = "inspector-audit.toml"
"""What ``inspector audit --init`` writes."""

MAX_BYTES = 1024 * 1024
Counts = Literal["skip", "warn", "fail"]
Box = tuple[float, float, float, float]


class PolicyError(InspectorError):
    """The policy cannot be read, or says something that means nothing."""

    kind = "policy"


def _read_path(value: Any, info: ValidationInfo) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or "\0" in value:
        raise PydanticCustomError("policy", "is not a path")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value if value else None


def _read_box(value: Any) -> Box | None:
    if value is None or value == []:
        return None
    numbers = isinstance(value, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in value
    )
    if not numbers or len(value) != 4 or not (0 <= value[0] < value[2] <= 1 and 0 <= value[1] < value[3] <= 1):
        raise PydanticCustomError("policy", "is not [left, top, right, bottom] as shares from 0 to 1")
    left, top, right, bottom = map(float, value)
    return left, top, right, bottom


def _check_whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise PydanticCustomError("policy", "is not a whole number from 0 up")
    return value


_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
Whole = Annotated[int, BeforeValidator(_check_whole), WithJsonSchema({"type": "integer", "minimum": 0})]
GivenPath = Annotated[Path | None, BeforeValidator(_read_path), WithJsonSchema({"type": "string"})]
GivenBox = Annotated[
    Box | None,
    BeforeValidator(_read_box),
    WithJsonSchema({"anyOf": [{"type": "array", "items": _SHARE, "minItems": n, "maxItems": n} for n in (4, 0)]}),
]


class Table(BaseModel):
    """A table of the policy: nothing in it is converted, and an unknown name is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Images(Table):
    """Which pictures an audit looks at."""

    data: GivenPath = Field(default=None, description="folder of pictures or file of labels, where --data gives none")
    labelled: Literal["auto", "yes", "no"] = Field(
        default="auto", description="its folders are classes, by label or index: yes, no, auto (when the names are)"
    )
    split: Literal["auto", "train", "val", "test"] = Field(
        default="auto",
        description="part of labelled boxes and masks: train, val, test, auto (the first of val, test, train)",
    )
    max: Whole = Field(default=0, description="pictures at most, evenly spread; 0: all")
    sample: Whole = Field(
        default=24, description="pictures for what needs several runs each: consistency, drift by layer"
    )
    explain: Whole = Field(
        default=8,
        description="pictures whose class activation maps are judged; so many of each class for regions.avoid",
    )


class Regions(Table):
    """Where the object is, and where the network must not look."""

    masks: GivenPath = Field(
        default=None, description="folder of masks under the pictures' own relative paths, white where the object is"
    )
    boxes: GivenPath = Field(
        default=None, description='JSON file: {"cat/1.jpg": [[left, top, right, bottom], ...]} in pixels'
    )
    box: GivenBox = Field(
        default=None, description="or one box for all pictures, as shares of width and height: [0.1, 0.1, 0.9, 0.9]"
    )
    avoid: GivenBox = Field(
        default=None, description="where the network must not look, such as a watermark, in the same form"
    )

    @property
    def objects(self) -> bool:
        """Whether anything says where the object is."""
        return any((self.masks, self.boxes, self.box))


class Demands(Table):
    """What stands in a policy above its tables of checks."""

    fail_on: Severity = Field(default="error", description='"warning": what only warns fails the audit too')
    could_not_run: Counts = Field(
        default="skip",
        description="what a check counts as that lacks something (torch, labels, a reference): skip, warn, fail",
    )
    broken: Counts = Field(
        default="fail", description="what a check counts as that raised, or whose model did: skip, warn, fail"
    )
    seed: Whole = Field(default=0, description="of noise and random masks")
    reference: GivenPath = Field(
        default=None, description="model or snapshot for drift and cost, where --against gives none"
    )
    images: Images = Images()
    regions: Regions = Regions()


@dataclass(frozen=True)
class PolicyRule:
    """What the policy says of one check.

    Attributes:
        on: Whether it runs.
        severity: Of its findings.
        required: That it could not run is a failure, whatever the policy says of the others.
        limits: Its settings.
    """

    on: bool
    severity: Severity
    required: bool
    limits: Limits


@dataclass(frozen=True)
class Policy:
    """The demands of one audit. Made by :func:`load_policy` or :func:`make_default_policy`.

    Attributes:
        rules: What is said of each check, by its id.
        fail_on: The severity from which findings fail the audit.
        could_not_run: What a check counts as that lacks what it needs (torch, labels, pictures, a reference).
        broken: What a check counts as that raised, or whose model did.
        seed: Of noise and random masks.
        images: Which pictures are looked at.
        regions: Where the object is, and where the network must not look.
        reference: A model or snapshot for drift and cost, if none is given with the call.
        source: Where the policy was read.
    """

    rules: Mapping[str, PolicyRule]
    fail_on: Severity
    could_not_run: Counts
    broken: Counts
    seed: int
    images: Images
    regions: Regions
    reference: Path | None
    source: str

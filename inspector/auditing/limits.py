"""The settings that a check takes from the policy: what each may be, and what the policy leaves them at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Value = float | int | bool | str | list[Any] | None
Kind = Literal["number", "whole", "truth", "text", "list"]

_KINDS: dict[type, Kind] = {bool: "truth", str: "text", list: "list"}
_TYPES: dict[str, type] = {"truth": bool, "text": str, "list": list}
_WORDS: dict[str, str] = {
    "number": "a number", "whole": "a whole number", "truth": "a truth value (true or false)", "text": "a text",
    "list": "a list",
}  # fmt: skip
_JSON_TYPES = {"number": "number", "whole": "integer", "truth": "boolean", "text": "string", "list": "array"}


@dataclass(frozen=True)
class Limit:
    """One setting of a check.

    A number may be ``"none"`` in the policy, which measures without judging. A whole number is a setting that the
    check needs, so it may not, unless `default` is None or `optional` is set.

    Args:
        default: Its value where the policy says nothing; None sets no limit.
        meaning: What it sets, for the comment in the policy and the reference page.
        kind: By default that of `default`: a truth value, a text, a list, else a number.
        low: The least that a number may be.
        high: The largest that a number may be.
        optional: Whether ``"none"`` is allowed, where it is not what the kind says.
        unit: The unit of the value, as it follows "in": ``"dB"``.
    """

    default: Value
    meaning: str
    kind: Kind | None = None
    low: float | None = None
    high: float | None = None
    optional: bool | None = None
    unit: str = ""

    @property
    def own_kind(self) -> Kind:
        """The kind that was given, or else that of the default."""
        return self.kind or _KINDS.get(type(self.default), "number")

    @property
    def may_be_none(self) -> bool:
        """Whether the policy may write ``"none"``."""
        if self.own_kind not in ("number", "whole"):
            return False
        return (self.own_kind == "number" or self.default is None) if self.optional is None else self.optional

    @property
    def comment(self) -> str:
        """The meaning with the unit behind it, in one line."""
        return f"{self.meaning}, in {self.unit}" if self.unit else self.meaning

    @property
    def bounds(self) -> str:
        """What a number is held to, as in "from 0 to 1"; empty without bounds."""
        parts = (
            f"from {self.low:g}" if self.low is not None else "",
            f"to {self.high:g}" if self.high is not None else "",
        )
        return " ".join(filter(None, parts))

    def describe(self) -> str:
        """What it takes, in words: "a number from 0 to 1"."""
        return f"{_WORDS[self.own_kind]} {self.bounds}".rstrip()

    def expected(self, value: object) -> str:
        """What a value of the policy should be instead, as in "a number"; empty when it is right."""
        kind = self.own_kind
        if kind in _TYPES:
            return "" if isinstance(value, _TYPES[kind]) else _WORDS[kind]
        if self.may_be_none and value == "none":
            return ""
        types: Any = int if kind == "whole" else int | float
        # Beyond 2^53 a whole number is none as a float; the comparison is False for NaN.
        if not isinstance(value, types) or isinstance(value, bool) or not -(2**53) <= value <= 2**53:
            return _WORDS[kind] + (' or "none"' if self.may_be_none else "")
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            return self.describe()
        return ""

    def read(self, value: object) -> Value:
        """A value of the policy as the check takes it: TOML has no null, so ``"none"`` stands for None."""
        return None if self.may_be_none and value == "none" else value  # type: ignore[return-value]

    def schema(self) -> dict[str, Any]:
        """The same for editors, as a JSON schema."""
        found: dict[str, Any] = {"type": _JSON_TYPES[self.own_kind]}
        if self.low is not None:
            found["minimum"] = self.low
        if self.high is not None:
            found["maximum"] = self.high
        if self.may_be_none:
            found = {"anyOf": [found, {"const": "none"}]}
        return {**found, "description": self.comment, "default": "none" if self.default is None else self.default}


class Limits(Mapping[str, Any]):
    """The settings of one check as the policy leaves them: ``limits["max"]``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

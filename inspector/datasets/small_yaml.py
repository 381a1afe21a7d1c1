"""The little of YAML that a data.yaml holds: texts, numbers, lists and tables of these, one level deep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspector.datasets.labelled import read_label_text, say_wrong

_KEY = re.compile(r"""^(?P<key>'[^']*'|"[^"]*"|[^\s:#'"\[{][^:#]*?)\s*:(?:\s+(?P<value>.*))?$""")
_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>'(?:[^']|'')*'|"(?:[^"\\]|\\.)*")|(?P<mark>[\[\]{},:])|(?P<plain>[^\[\]{},:]+))"""
)
_DEEPEST = 8


@dataclass
class _Block:
    """A key of the outermost table: the line that it stands in, what stands behind it, and the lines below."""

    line: int
    value: str
    below: list[tuple[int, str]] = field(default_factory=list)


class YamlFile:
    """A file whose outermost table is read key by key: what nobody asks for may be any YAML.

    Args:
        file: Its path.

    Raises:
        LabelError: It cannot be read, or has no table.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._blocks = dict(self._split(read_label_text(file)))

    def __contains__(self, key: str) -> bool:
        return key in self._blocks

    def line(self, key: str) -> int:
        """The line in which a key stands."""
        return self._blocks[key].line

    def get(self, key: str) -> Any:
        """The value of a key: text, number, list, or table with texts and numbers as keys; None where it is missing.

        Raises:
            LabelError: It is another kind of YAML.
        """
        block = self._blocks.get(key)
        if block is None:
            return None
        text = block.value
        if text[:1] in ("&", "*", "!", "|", ">"):
            raise say_wrong(self.file, block.line, f"{key} is written with YAML's {text[0]!r}, which is not read here")
        if text[:1] in ("[", "{"):
            return self._read_flow(" ".join([text, *(line for _, line in block.below)]), block.line)
        if text or not block.below:
            return read_scalar(text)
        if block.below[0][1].startswith("-"):
            return [self._read_item(number, line) for number, line in block.below]
        return dict(self._read_pair(number, line) for number, line in block.below)

    def _split(self, text: str) -> Iterator[tuple[str, _Block]]:
        name, block = "", None
        for number, raw in enumerate(text.splitlines(), 1):
            line = _without_comment(raw).rstrip()
            if not line or line in ("---", "..."):
                continue
            below = line[0] in " \t-]}" or (block is not None and _is_open(block))
            if below and block is not None:
                block.below.append((number, line.strip()))
                continue
            found = _KEY.match(line)
            if found is None:
                raise say_wrong(self.file, number, f"{line.strip()[:60]!r} is no 'key: value'")
            if block is not None:
                yield name, block
            name, block = str(read_scalar(found["key"])), _Block(number, (found["value"] or "").strip())
        if block is not None:
            yield name, block

    def _read_item(self, number: int, line: str) -> Any:
        if not line.startswith("-"):
            raise say_wrong(self.file, number, f"{line[:60]!r} is no item of the list above")
        return read_scalar(line[1:].strip())

    def _read_pair(self, number: int, line: str) -> tuple[Any, Any]:
        found = _KEY.match(line)
        if found is None:
            raise say_wrong(self.file, number, f"{line[:60]!r} is no 'key: value'")
        return read_scalar(found["key"]), read_scalar((found["value"] or "").strip())

    def _read_flow(self, text: str, line: int) -> Any:
        tokens = list(_TOKEN.finditer(text.strip()))
        if "".join(match[0] for match in tokens) != text.strip():
            raise say_wrong(self.file, line, "the list or table in brackets is malformed")
        words = [(match["mark"], match["quoted"] or (match["plain"] or "").strip()) for match in tokens]
        words = [word for word in words if word != (None, "")]
        try:
            value, end = _parse_flow(words, 0, 0)
        except (IndexError, ValueError):
            end, value = -1, None
        if end != len(words):
            raise say_wrong(self.file, line, "the list or table in brackets is malformed")
        return value


def read_scalar(text: str) -> Any:
    """A text, whole number or decimal as YAML writes it; None for nothing."""
    if text[:1] == "'" and text[-1:] == "'" and len(text) > 1:
        return text[1:-1].replace("''", "'")
    if text[:1] == '"' and text[-1:] == '"' and len(text) > 1:
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if text in ("", "~", "null"):
        return None
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?\d+\.\d*", text) else text


def _without_comment(line: str) -> str:
    """The line up to a # that begins a comment: not inside quotes, and behind a blank."""
    quote = ""
    for at, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"" and (at == 0 or line[at - 1] in " \t[{,:-"):
            quote = sign
        elif sign == "#" and (at == 0 or line[at - 1] in " \t"):
            return line[:at]
    return line


def _is_open(block: _Block) -> bool:
    """Whether a bracket is still open behind the key."""
    text = block.value + " ".join(line for _, line in block.below)
    if text[:1] not in ("[", "{"):
        return False
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    return sum(bare.count(sign) for sign in "[{") > sum(bare.count(sign) for sign in "]}")


def _parse_flow(words: list[tuple[str | None, str]], at: int, depth: int) -> tuple[Any, int]:
    """(value, the place behind it) of a list, table or scalar; IndexError or ValueError where it is malformed."""
    mark, text = words[at]
    if depth > _DEEPEST or mark in ("]", "}", ",", ":"):
        raise ValueError(mark)
    if mark is None:
        return read_scalar(text), at + 1
    items: list[Any] = []
    table: dict[Any, Any] = {}
    at += 1
    end = "]" if mark == "[" else "}"
    while words[at][0] != end:
        value, at = _parse_flow(words, at, depth + 1)
        if mark == "[":
            items.append(value)
        else:
            if words[at][0] != ":" or isinstance(value, list | dict):
                raise ValueError(value)
            table[value], at = _parse_flow(words, at + 1, depth + 1)
        if words[at][0] == ",":
            at += 1
        elif words[at][0] != end:
            raise ValueError(words[at])
    return (items if mark == "[" else table), at + 1

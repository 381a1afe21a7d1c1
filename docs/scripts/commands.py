"""Writes docs/commands.md and the table of commands in README.md from the commands themselves.

Usage: python docs/scripts/commands.py

tests/test_docs.py compares what is written here with what stands in the files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from typer.models import ArgumentInfo, OptionInfo

from inspector.cli import list_commands, list_words

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- commands: written by docs/scripts/commands.py -->", "<!-- end of commands -->"

HEAD = """# Commands

Every command with every option. `inspector COMMAND --help` prints the same text. This page is written by
`python docs/scripts/commands.py`; do not edit it by hand.

Exit code 0: done. 1: the audit found something. 2: bad input or usage. 130: interrupted; 143 and 129:
ended by SIGTERM and SIGHUP. With `--json` there is one JSON document on stdout and nothing else.
"""


def first_sentence(function: Any) -> str:
    """The first paragraph of a command's description, on one line."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def write_table() -> str:
    """The rows of the README's table: one a command."""
    return "\n".join(f"| `inspector {name}` | {first_sentence(function)} |" for name, function in list_commands())


def write_page() -> str:
    """The whole of docs/commands.md."""
    every = [one for name, function in list_commands() for one in ((name, function), *list_words(name))]
    return "\n".join([HEAD, *(_write_command(name, function) for name, function in every)])


def replace_table(readme: str) -> str:
    """The text of the README with the rows between the two marks written anew."""
    before, rest = readme.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n| command | what it does |\n|---|---|\n{write_table()}\n{END}{after}"


def _write_command(name: str, function: Callable[..., Any]) -> str:
    parameters = [_read_parameter(p) for p in inspect.signature(function, eval_str=True).parameters.values()]
    arguments = [p for p in parameters if isinstance(p.info, ArgumentInfo)]
    options = [p for p in parameters if isinstance(p.info, OptionInfo)]
    usage = " ".join(["inspector", name, *(p.label for p in arguments), "[OPTIONS]"])
    lines = [f"## inspector {name}", "", f"`{usage}`", "", inspect.getdoc(function) or "", ""]
    lines += [f"- `{p.label}`: {p.explanation}" for p in arguments]
    for panel in dict.fromkeys(p.info.rich_help_panel for p in options):
        lines += ["", *([f"**{panel}**", ""] if panel else []), "| option | meaning |", "|---|---|"]
        lines += [f"| {p.label} | {p.explanation} |" for p in options if p.info.rich_help_panel == panel]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Parameter:
    """An argument or an option as the page shows it."""

    info: ArgumentInfo | OptionInfo
    label: str
    explanation: str


def _read_parameter(parameter: inspect.Parameter) -> _Parameter:
    base, *marks = get_args(parameter.annotation)
    [info] = [mark for mark in marks if isinstance(mark, ArgumentInfo | OptionInfo)]
    required = parameter.default is inspect.Parameter.empty
    notes = []
    if isinstance(info, ArgumentInfo):
        label = info.metavar or parameter.name.upper()
        label = label if required else f"[{label}]"
    else:
        # Inside Annotated, the first name lands in the place of the default.
        names = [*([info.default] if isinstance(info.default, str) else []), *(info.param_decls or ())]
        names = names or [f"--{parameter.name.replace('_', '-')}"]
        kind = "" if bool in (base, *get_args(base)) else f" {info.metavar or _name_kind(base)}"
        label = ", ".join(f"`{name}`" for name in names[:-1]) + (", " if names[1:] else "") + f"`{names[-1]}{kind}`"
        if required:
            notes.append("required")
    if isinstance(info.show_default, str):
        notes.append(f"default: {info.show_default}")
    elif info.show_default and type(parameter.default) in (str, int, float) and parameter.default != "":
        notes.append(f"default: {parameter.default}")
    notes += [f"at least {info.min}"] if info.min is not None else []
    notes += [f"at most {info.max}"] if info.max is not None else []
    text = " ".join((info.help or "").split()) + (f" [{'; '.join(notes)}]" if notes else "")
    return _Parameter(info, label.replace("|", "\\|"), text.replace("|", "\\|"))


def _name_kind(base: Any) -> str:
    """What stands for the value of an option that names no metavar."""
    kinds = {base, *get_args(base)}
    return "X" if float in kinds else "N" if int in kinds else "TEXT"


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(write_page(), "utf-8")
    readme = ROOT / "README.md"
    readme.write_text(replace_table(readme.read_text("utf-8")), "utf-8")

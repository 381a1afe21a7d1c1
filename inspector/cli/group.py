"""The group of all commands. Each is built when it is asked for: building all takes longer than importing typer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from inspector.cli import NAMES, WORDS
from inspector.cli.inputs import guard_command
from inspector.cli.options import GroupedCommand, spare_checks

# typer carries its own click since 0.20 and uses the click package before: take the classes from what it exports.
ClickError: type[Exception] = typer.BadParameter.__mro__[2]


class CommandGroup(TyperGroup):
    """Finds the commands by their modules' names."""

    def get_params(self, ctx: Any) -> Any:
        """The options that stand before the command."""
        return spare_checks(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the documentation."""
        return list(NAMES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with this name; None where there is none."""
        return build_command(cmd_name) if cmd_name in NAMES else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command of some arguments, with what is left for it; `scan merge` is one by itself, with its own help."""
        name, command, rest = super().resolve_command(ctx, args)
        words = WORDS.get(name or "", {})
        if command is None or not any(word in rest for word in words):
            return name, command, rest
        own = command.context_class(command, info_name=name, parent=ctx)
        first = next(param.name for param in command.params if param.param_type_name == "argument")
        word = ""
        with suppress(ClickError):  # what it does not understand, it tells itself
            word = str(command.make_parser(own).parse_args(list(rest))[0].get(first))
        # An option may stand before the word, and of another command: then the word comes first.
        word = word if word in words else rest[0]
        if word not in words:
            return name, command, rest
        left = list(rest)
        left.remove(word)
        return f"{name} {word}", build_command(f"{name} {word}"), left

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each command; its options are not needed for that."""
        limit = formatter.width - 6 - max(map(len, NAMES))
        lines = [TyperCommand(name=name, help=read_help(name)).get_short_help_str(limit) for name in NAMES]
        with formatter.section("Commands"):
            formatter.write_dl(list(zip(NAMES, lines, strict=True)))


def read_help(name: str) -> str | None:
    """What a command says of itself, read from its module's text: importing all commands would double the time."""
    try:
        text = Path(__file__).with_name(f"{name}.py").read_text("utf-8")
    except OSError:  # a program made of compiled modules alone
        text = ""
    found = re.search(rf'^def {name}\(.*?^ *"""(.*?)"""', text, re.DOTALL | re.MULTILINE)
    return inspect.cleandoc(found[1]) if found else inspect.getdoc(find_command(name))


def find_command(name: str) -> Callable[..., Any]:
    """The function of a command."""
    module, _, word = name.partition(" ")
    own = WORDS[module][word] if word else module
    function: Callable[..., Any] = getattr(import_module(f"inspector.cli.{module}"), own)
    return function


def build_command(name: str) -> Any:
    """A command with its options."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, cls=GroupedCommand)(guard_command(find_command(name)))
    return typer.main.get_command(alone)

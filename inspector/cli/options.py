"""Options of long commands: made from the fields of a dataclass, and listed in groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol, get_type_hints

import typer
from typer.core import TyperCommand

from inspector.errors import UsageError


class FieldText(Protocol):
    """What a field's option needs beside its default: its line of help, its group, and what stands for its value."""

    @property
    def help(self) -> str:
        """A sentence; empty for a field that is no option."""

    @property
    def group(self) -> str:
        """The heading that it is listed under."""

    @property
    def metavar(self) -> str:
        """What stands for its value; empty for the known names."""

    @property
    def known(self) -> tuple[str, ...]:
        """The names that it can have."""


def option(flag: str, group: str, help: str, metavar: str | None = None, **more: Any) -> Any:
    """An option of a long command.

    Args:
        flag: As it is given.
        group: The heading that it is listed under.
        help: A sentence that can be understood without the lines above it.
        metavar: What stands for its value.
        more: Further arguments of `typer.Option`.
    """
    return typer.Option(flag, metavar=metavar, help=help, rich_help_panel=group, **more)


Precision = Annotated[
    str,
    option(
        "--precision",
        "How it is made",
        "Number format of the network; auto takes the faster that looks the same.",
        "auto|float32|bfloat16",
    ),
]


_SPARED: Mapping[Any, type] = {str: str, int: int, float: float, bool: bool, list[str]: str}
"""Types of parameters, and the type of one value."""


def spare_checks(params: Sequence[Any]) -> Sequence[Any]:
    """Let values that are of the type of their parameter already go by typer's check of them.

    Since 0.29 typer checks each by pydantic, whose import takes as long as that of numpy. Texts from the command line
    are texts; a number that somebody typed is still for typer to read.

    Args:
        params: Of a command, as `get_params` gives them.

    Returns:
        The same.
    """
    for param in params:
        known: Any = getattr(param, "type_descriptor", None)
        kind = _SPARED.get(getattr(known, "annotation", None))
        if kind is not None and known.parameter_info.parser is None and "process_value" not in vars(param):
            param.process_value = _spare_check(param, kind)
    return params


def _spare_check(param: Any, kind: type) -> Callable[[Any, Any], Any]:
    check, several = param.process_value, param.multiple or param.nargs == -1

    def process(ctx: Any, value: Any) -> Any:
        given = value if several and value else [value]
        if (not value and param.required) or not all(one is None or type(one) is kind for one in given):
            return check(ctx, value)
        # As typer does it: none of several is an empty tuple where nothing was given.
        found = value if not several else () if value is None else list(value)
        return found if param.callback is None else param.callback(ctx, param, found)

    return process


class GroupedCommand(TyperCommand):
    """A command whose help lists options under their ``rich_help_panel``, in plain text; the common ones come last."""

    def get_params(self, ctx: Any) -> Any:
        """The arguments and options, that of the help among them."""
        return spare_checks(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, in which other options may stand between an option and its values."""
        return super().parse_args(ctx, gather_values(self.get_params(ctx), args))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options, group by group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        common: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                groups["Arguments"].append(record)
            else:
                name = getattr(param, "rich_help_panel", None)
                (groups.setdefault(name, []) if name else common).append(record)
        for name, records in {**groups, "Options": common}.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def gather_values(params: Sequence[Any], args: Sequence[str]) -> list[str]:
    """Put the values of an option that takes several behind it, and the options that stand between them before it.

    Args:
        params: The parameters of the command.
        args: What it is given.

    Returns:
        The same words; ``--check --json FILE CERTIFICATE`` as ``--json --check FILE CERTIFICATE``.
    """
    options = [param for param in params if param.param_type_name == "option"]
    takes = {
        name: 0 if getattr(option, "is_flag", False) else option.nargs
        for option in options
        for name in (*option.opts, *option.secondary_opts)
    }
    made: list[str] = []
    left = list(args)
    while left and left[0] != "--":
        word = left.pop(0)
        count = takes.get(word, 0)
        values: list[str] = []
        while left and left[0] != "--" and len(values) < count:
            if count > 1 and left[0].partition("=")[0] in takes:
                more = 1 if "=" in left[0] else 1 + takes[left[0]]
                made, left = [*made, *left[:more]], left[more:]
            else:
                values.append(left.pop(0))
        made += [word, *values]
    return made + left


def add_fields(
    options: type, choices: Mapping[str, FieldText], groups: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a decorator that gives a command one option for each field of a dataclass, in place of its ``**settings``.

    A tuple of names is given as one text with commas, a pair of numbers (a size) as one number.

    Args:
        options: The dataclass.
        choices: What is known of each field, by name; a field without help becomes no option.
        groups: The order of the groups in the help.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        hints = get_type_hints(options)
        given = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [_parameter(options, n, hints[n], choice) for n, choice in choices.items() if choice.help]
        ordered = sorted([*given, *made], key=lambda parameter: _place(parameter, groups))
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in ordered]
        command.__signature__ = signature.replace(parameters=keyword)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in keyword} | {"return": None}
        return command

    return decorate


def read_inputs(given: Sequence[str] | None) -> dict[str, list[float]]:
    """The values of --input by name; raises UsageError for what is not NAME=VALUE,... .

    Example:
        >>> read_inputs(["scale_factor=1,1"])
        {'scale_factor': [1.0, 1.0]}
    """
    values: dict[str, list[float]] = {}
    for text in given or ():
        name, equals, numbers = text.rpartition("=")
        try:
            values[name] = [float(number) for number in numbers.split(",")]
        except ValueError:
            equals = ""
        if not name or not equals:
            raise UsageError(f"--input {text!r} is not NAME=VALUE,...", "for example: --input scale_factor=1,1")
    return values


def read_settings(options: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the values of the options that :func:`add_fields` made into values of the fields, by name."""
    hints = get_type_hints(options)
    return {name: _read(hints[name], value) for name, value in given.items()}


def _parameter(options: type, name: str, hint: Any, choice: FieldText) -> inspect.Parameter:
    default = getattr(options, name)
    if hint == tuple[str, ...]:
        hint, default = str, ",".join(default) or "none"
    lowest = None
    if hint == tuple[int, int] | None:
        hint, lowest = int | None, 8
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=choice.help,
        metavar=choice.metavar or "|".join(choice.known),
        rich_help_panel=choice.group,
        min=lowest,
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option])


def _read(hint: Any, value: Any) -> Any:
    if hint == tuple[str, ...]:
        from inspector.image.poses import split_kinds

        return split_kinds(value)
    if hint == tuple[int, int] | None and value is not None:
        return (value, value)
    return value


def _place(parameter: inspect.Parameter, groups: Sequence[str]) -> int:
    """Arguments come first, options without a group last."""
    info = next(iter(getattr(parameter.annotation, "__metadata__", ())), None)
    if isinstance(info, typer.models.ArgumentInfo):
        return -1
    group = getattr(info, "rich_help_panel", None)
    return groups.index(group) if group in groups else len(groups)

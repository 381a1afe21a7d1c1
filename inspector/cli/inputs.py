"""Which parameters of the commands are files that are read, and which are files that are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from inspector.cli.ends import Stopped
from inspector.cli.streams import silence, write_error_line
from inspector.errors import UsageError
from inspector.guard import FileOrDescriptor, find_stream_inputs, guard_inputs, is_pipe

OUTPUTS = {
    "out": "-o",
    "frames": "--frames",
    "junit": "--junit",
    "sarif": "--sarif",
    "markdown": "--markdown",
    "save_snapshot": "--save-snapshot",
    "certificate": "--certificate",
}
"""Files that commands write. `out` of some commands is a folder: what is written there is checked as it is written."""

INPUTS = {
    "model": "the model itself",
    "images": "one of the pictures",
    "image": "the picture itself",
    "data": "one of the pictures",
    "calibrate": "one of the pictures",
    "from_images": "one of the pictures",
    "base": "the base itself",
    "source": "a file of the source",
    "weights": "the file of --weights",
    "labels": "the file of --labels",
    "preprocess": "the file of --preprocess",
    "policy": "the file of --policy",
    "against": "the file of --against",
    "mask": "the file of --mask",
    "start": "the picture of --start",
    "audit": "the file of --audit",
    "filters": "the file of --filters",
    "run": "a file of the run",
    "check": "a file of --check",
    "unknown": "one of the pictures",
    "outliers": "one of the pictures",
}
"""Files and folders that commands read, and what an error calls them."""

PICTURES = frozenset({"images", "image", "mask", "start"})
"""Inputs that may be pipes: whoever opens pictures does not wait for ever."""

FOLDERS = frozenset({"cache", "links", "patterns", "record", "sources"})
"""Folders that commands keep files of their own in, under names that nobody gives, folders that are only named, and
those of a scan: too many pictures to compare each with what is written, which goes into a folder apart from them."""

_RUNS = frozenset({"run", "source"})
"""Folders of which every file counts, and not only the pictures."""
_PAGES = frozenset({".html", ".htm"})


def guard_command(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, which ends before it has computed anything where it would write onto what it reads."""

    @wraps(command)
    def guarded(**given: Any) -> Any:
        _refuse_pipes(given)
        inputs = find_inputs(given)
        _refuse_streams(inputs)
        with guard_inputs(find_outputs(given), inputs):
            return command(**given)

    return guarded


def _refuse_streams(inputs: Mapping[str, list[FileOrDescriptor]]) -> None:
    """End the command where stdout or stderr is a file that is read: ``>> model.onnx``."""
    clashes = find_stream_inputs(inputs)
    for number in clashes:  # the error itself must not land there
        silence(sys.stdout if number == 1 else sys.stderr)
    if 1 in clashes:  # no document can be written either
        write_error_line(f"inspector: {UsageError(clashes[1], 'send stdout elsewhere')}")
        raise Stopped(2)
    if 2 in clashes:
        raise UsageError(clashes[2], "send stderr elsewhere")


def _refuse_pipes(given: Mapping[str, Any]) -> None:
    """Raise UsageError for a named pipe where a file is read: it would be waited for without an end.

    Pictures may come through one, and what the shell makes of ``<(command)`` has somebody who writes to it.
    """
    for name in INPUTS.keys() - PICTURES - {"model"}:
        text = given.get(name)
        if isinstance(text, str) and not text.startswith(("/dev/fd/", "/proc/")) and is_pipe(text):
            raise UsageError(
                f"{text} is a pipe, not a file", f"write it to a file first, for --{name.replace('_', '-')}"
            )


def find_outputs(given: Mapping[str, Any]) -> dict[str, FileOrDescriptor | None]:
    """What a command is asked to write, by option."""
    outputs: dict[str, FileOrDescriptor | None] = {
        option: given[name]
        for name, option in OUTPUTS.items()
        # A folder is no file that could be overwritten, and what it is for is told by who makes it. os.path, here and
        # below: a Path of "" would be the current folder, and one of a text that is no path raises.
        if given.get(name) and not (name == "out" and os.path.isdir(given[name]))  # noqa: PTH112
    }
    if "markdown" in given:
        # What the Markdown is appended to in a job of GitHub Actions.
        outputs["the summary of the job"] = os.environ.get("GITHUB_STEP_SUMMARY") or None
    return outputs


def find_inputs(given: Mapping[str, Any]) -> dict[str, list[FileOrDescriptor]]:
    """What a command reads, by what it is called."""
    inputs: dict[str, list[FileOrDescriptor]] = {"": [1, 2]}
    for name, role in INPUTS.items():
        value = given.get(name)
        for text in [value] if isinstance(value, str) else value or ():
            if text == "-":
                inputs.setdefault(role, []).append(0)
            elif name == "images" and text.endswith(".onnx"):  # the second one of `compare`
                inputs.setdefault("a model that is compared", []).append(text)
            elif name in _RUNS and os.path.isdir(text):  # noqa: PTH112
                inputs.setdefault(role, []).extend(p for p in Path(text).rglob("*") if p.suffix not in _PAGES)
            elif os.path.exists(text):  # noqa: PTH110  names such as imagenet are no files
                inputs.setdefault(role, []).append(text)
    return inputs

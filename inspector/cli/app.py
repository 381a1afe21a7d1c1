"""The Typer application, and how every error becomes one line and an exit code."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from inspector.cli import NAMES
from inspector.cli.ends import Interrupted, Stopped, as_error, document_error, wants_traceback
from inspector.cli.group import ClickError, CommandGroup
from inspector.cli.streams import (
    StdoutLost,
    find_signal_code,
    handle_signals,
    prepare_streams,
    silence,
    write_error_line,
)
from inspector.errors import InspectorError, OutputError, UsageError, nearest
from inspector.onnx import load_parts_alone
from inspector.version import __version__

app = typer.Typer(
    name="inspector",
    cls=CommandGroup,
    help="See what a convolutional network has learned, and check that it is fit to ship, from its .onnx file.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: rich would cost more time than everything else in `inspector --help` together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_FIRST_COLLECTION = 60_000
"""Objects that are made before Python looks for cycles a first time; imports make about as many."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"inspector {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """See what a convolutional network has learned, and check that it is fit to ship, from its .onnx file."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    0 done, 1 the audit found something, 2 bad input or usage, 130 interrupted, 143 ended by SIGTERM, 129 by SIGHUP.
    """
    prepare_streams()
    handle_signals()
    _spare_processor()
    given = sys.argv[1:] if arguments is None else arguments
    code = find_signal_code(run(given))
    # An interrupt inside of exec, by which data classes are made while modules load, lets `python -m` die of SIGINT at
    # its end, whatever the code is and though the interrupt was handled. The next exec forgets it.
    exec("")
    # The end of the process takes all that is left. Looking for cycles in it first would take a tenth of the time.
    gc.freeze()
    sys.exit(code)


def _spare_processor() -> None:
    """Leave out what a short process pays for and has nothing of."""
    # The threads of numpy's BLAS keep a core busy for 50 ms after they were made, unless they are told to sleep.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    load_parts_alone()
    # During the imports Python would look a hundred times for cycles among objects that stay; it never does now.
    usual = gc.get_threshold()

    def go_on(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(go_on)
        gc.set_threshold(*usual)
        gc.freeze()

    gc.callbacks.append(go_on)
    gc.set_threshold(_FIRST_COLLECTION, *usual[1:])


def run(arguments: Sequence[str]) -> int:
    """Run the command line: the exit code. Without arguments the help, as --help gives it."""
    given = list(arguments) or ["--help"]
    path = f"inspector {given[0]}" if given[0] in NAMES else "inspector"
    return run_guarded(lambda: app(args=given, prog_name="inspector", standalone_mode=False), "--json" in given, path)


def run_guarded(call: Callable[[], Any], json: bool, path: str = "inspector") -> int:
    """The exit code of `call`, with every expected error reported as one line (or one JSON document).

    Args:
        call: Does the work.
        json: Whether errors are documents.
        path: The command whose help an error names that says nothing of it itself.
    """
    code = 0
    try:
        code = _outcome(call, json, path)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        silence(sys.stdout)
    except OSError as error:
        from inspector.files import explain_os_error

        silence(sys.stdout)
        reason, hint = explain_os_error(error)
        write_error_line(f"inspector: {OutputError(f'stdout cannot be written: {reason}', hint)}")
        return 2
    return code


def _outcome(call: Callable[[], Any], json: bool, path: str) -> int:
    """The same; what stdout does not take is raised."""
    try:
        code = call()
        if code == 130:  # typer keeps a KeyboardInterrupt to itself and returns this
            return _interrupted(json)
        return code if isinstance(code, int) else 0
    except Stopped as stop:  # already reported
        return stop.code
    except Interrupted as error:
        return _interrupted(json, error)
    except InspectorError as error:
        return _report(error, json)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(json)
    except (BrokenPipeError, StdoutLost):
        raise
    except ClickError as error:
        return _report(_usage(error, path), json)
    except Exception as error:
        if wants_traceback(error):
            raise
        return _report(as_error(error), json)


def _usage(error: Exception, path: str) -> UsageError:
    """What typer found wrong, with the command whose help has the answer."""
    text = error.format_message().rstrip(".") if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "") or path
    unknown = re.match(r"No such command '(.*?)'", text)
    if unknown is not None:
        known = nearest(unknown[1], NAMES)
        return UsageError(f"{unknown[0]}; nearest: {', '.join(known)}", f"see `{path} --help`")
    return UsageError(text, f"see `{path} --help`")


def _interrupted(json: bool, error: Interrupted | None = None) -> int:
    error = error or Interrupted("interrupted")
    if json:
        print(document_error(error), flush=True)
    write_error_line(f"inspector: {error}")
    return 130


def _report(error: InspectorError, json: bool) -> int:
    if json:
        print(document_error(error))
    else:
        write_error_line(f"inspector: {error}")
    return 2

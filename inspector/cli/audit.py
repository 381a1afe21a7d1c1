"""`inspector audit`: is the model fit to ship?"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from inspector.cli.console import (
    Console,
    JsonOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    progress,
    relative,
)


def audit(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="An .onnx file, from any exporter; not with --init.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="FILE", help="TOML; default: [tool.inspector.audit] of pyproject.toml, else built in."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR", help="Pictures; folders named after classes make them labelled."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODEL|SNAPSHOT", help="What to measure drift and cost from.")
    ] = None,
    save_snapshot: Annotated[
        str | None,
        typer.Option("--save-snapshot", metavar="FILE", help="Write a small file for a later --against."),
    ] = None,
    junit: Annotated[str | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    sarif: Annotated[str | None, typer.Option("--sarif", metavar="FILE", help="Write SARIF 2.1.0.")] = None,
    markdown: Annotated[str | None, typer.Option("--markdown", metavar="FILE", help="Write Markdown.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of noise and random masks.")] = None,
    init: Annotated[
        bool, typer.Option("--init", help="Write the built-in policy with comments to --policy, and stop.")
    ] = False,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> int:
    """Check a model before it ships: file, numerics, channels, answers, maps, drift, cost.

    Exit code 0: passed. 1: it found something, or nothing was checked. 2: bad input. In a job of GitHub Actions the
    Markdown is also appended to the job's summary.
    """
    console = Console("audit", json, quiet)
    if init:
        return _init(console, policy)
    from inspector.audit import audit_model, find_policy
    from inspector.audit.reports import audit_document, check_targets, table_report, write_reports
    from inspector.errors import OutputError, UsageError

    if model is None:
        raise UsageError("no MODEL was given", "inspector audit MODEL.onnx")
    check_targets(junit, sarif, markdown, save_snapshot)
    with _progress_bar(quiet) as advance:
        found = audit_model(
            model, find_policy(policy), data=data, against=against, save=save_snapshot, seed=seed, provider=provider,
            threads=threads, advance=advance, warn=console.note,
        )  # fmt: skip
    unwritten: OutputError | None = None
    try:
        write_reports(found, junit=junit, sarif=sarif, markdown=markdown)
    except OutputError as error:  # the verdict is told all the same
        unwritten = error
    for note in found.notes:
        console.note(f"{model} does not say everything; assumed: {note}")
    about = {"path": relative(found.path), "sha256": found.sha256}
    console.document(console.head(None, model=about, **audit_document(found)))
    console.say(table_report(found, shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else 200))
    if unwritten is not None:
        console.warn(str(unwritten))
        return 2
    return 0 if found.passed else 1


def _init(console: Console, policy: str | None) -> int:
    from inspector.audit import FILE, template
    from inspector.errors import UsageError
    from inspector.files import write_text

    target = policy or FILE
    if Path(target).exists():
        raise UsageError(f"{target} is there already", "give another name with --policy, or remove it")
    write_text(target, template())
    console.document(console.head(None, model=None, file=relative(target)))
    console.say(f"{target} holds the built-in policy; change it and run `inspector audit MODEL --policy {target}`")
    return 0


@contextmanager
def _progress_bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over the pictures, from the moment that their number is known."""
    with ExitStack() as stack:
        steps: list[Callable[[], None]] = []

        def advance(done: int, total: int) -> None:
            if not steps:
                steps.append(stack.enter_context(progress(total, "audit", quiet)))
            steps[0]()

        yield advance

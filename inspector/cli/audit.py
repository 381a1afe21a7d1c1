"""`inspector audit`: is the model fit to ship?"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspector.cli.console import (
    Console,
    InputOption,
    JsonOption,
    LinksOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    identify,
    progress_bar,
    relative,
)
from inspector.cli.options import read_inputs

if TYPE_CHECKING:
    from inspector.auditing import Audit

_INPUT, _POLICY, _REPORTS = "Model and pictures", "Policy", "Reports"


def audit(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="The .onnx file to audit, from any exporter; left out with --init.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="TOML file of demands. By default [tool.inspector.audit] of pyproject.toml, else the built-in policy.",
            rich_help_panel=_POLICY,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR|FILE",
            help="Folder of pictures. If its folders are named after classes, the answers are checked too; of a "
            "detector or segmenter, if it has labels (YOLO, COCO, Pascal VOC, masks). Also a data.yaml or a COCO JSON.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="MODEL|SNAPSHOT",
            help="Earlier model, or a snapshot of one, that layers, answers and costs are compared with.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    save_snapshot: Annotated[
        str | None,
        typer.Option(
            "--save-snapshot",
            metavar="FILE",
            help="Write a small file that a later audit can be given as --against; there is no picture in it.",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
    junit: Annotated[
        str | None,
        typer.Option(
            "--junit",
            metavar="FILE",
            help="Write the result as JUnit XML, which every CI shows.",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
    sarif: Annotated[
        str | None,
        typer.Option(
            "--sarif",
            metavar="FILE",
            help="Write the result as SARIF 2.1.0, which GitHub shows under code scanning.",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
    markdown: Annotated[
        str | None,
        typer.Option(
            "--markdown",
            metavar="FILE",
            help="Write the result as Markdown, for the summary of a CI job.",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            help="Where random numbers begin, for noise and random masks. By default the seed of the policy.",
            rich_help_panel=_POLICY,
        ),
    ] = None,
    init: Annotated[
        bool,
        typer.Option(
            "--init",
            help="Write the built-in policy with comments to the file that --policy names, and stop.",
            rich_help_panel=_POLICY,
        ),
    ] = False,
    links: LinksOption = None,
    inputs: InputOption = None,
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
        return _write_template(console, policy)
    from inspector.auditing import audit_model
    from inspector.auditing.reports import check_targets

    check_targets(junit, sarif, markdown, save_snapshot)
    with progress_bar("audit", quiet) as advance:
        result = audit_model(
            _need_model(model), policy, data=data, against=against, save=save_snapshot, seed=seed, provider=provider,
            threads=threads, allow_links=links or (), inputs=read_inputs(inputs), advance=advance, warn=console.note,
        )  # fmt: skip
    return _report(console, result, junit=junit, sarif=sarif, markdown=markdown)


def _need_model(model: str | None) -> str:
    """The model; raises UsageError where none was given."""
    from inspector.errors import UsageError

    if model is None:
        raise UsageError("no MODEL was given", "inspector audit MODEL.onnx")
    return model


def _report(console: Console, result: Audit, **files: str | None) -> int:
    """Write the reports and tell the result; the exit code."""
    from inspector.auditing.reports import format_table, make_document, write_reports
    from inspector.errors import OutputError

    unwritten: OutputError | None = None
    try:
        write_reports(result, **files)
    except OutputError as error:  # the verdict is told all the same
        unwritten = error
    for note in result.notes:
        console.note(f"{result.path} does not say everything; assumed: {note}")
    about = identify(result.path, result.sha256, result.digest)
    console.document(console.head(None, model=about, **make_document(result)))
    console.say(format_table(result, shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else 200))
    if unwritten is not None:
        console.warn(str(unwritten))
        return 2
    return 0 if result.passed else 1


def _write_template(console: Console, policy: str | None) -> int:
    """Write the built-in policy to a new file; the exit code."""
    from inspector.auditing import FILE, format_template
    from inspector.errors import UsageError
    from inspector.files import write_text

    target = policy or FILE
    if Path(target).exists():
        raise UsageError(f"{target} is there already", "give another name with --policy, or remove it")
    write_text(target, format_template())
    console.document(console.head(None, model=None, file=relative(target)))
    console.say(f"{target} holds the built-in policy; change it and run `inspector audit MODEL --policy {target}`")
    return 0

"""`inspector slim`: a smaller file with the same answers, and the check of its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.cli.console import (
    Console,
    InputOption,
    JsonOption,
    LinksOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    align_columns,
    identify,
    relative,
)
from inspector.cli.options import read_inputs

if TYPE_CHECKING:
    from exporters.slimming import CheckedCertificate, SlimmedModel

_CHECK = (
    "Check that FILE, which slim wrote, is what its certificate says; nothing is written. MODEL is then the file that "
    "it was made from; without it, the one that the certificate names."
)
_DATA = "Pictures that both files are compared on, too; channels that never change on them are listed."


def slim(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="An .onnx file, from any exporter.")] = None,
    out: Annotated[str | None, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file to write.")] = None,
    certificate: Annotated[
        str | None,
        typer.Option("--certificate", metavar="FILE", help="Write what was cut, why, and what was measured, as JSON."),
    ] = None,
    check: Annotated[tuple[str, str] | None, typer.Option("--check", metavar="FILE CERTIFICATE", help=_CHECK)] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="DIR", help=_DATA)] = None,
    also_unseen: Annotated[
        bool, typer.Option("--also-unseen", help="Also cut what never changes on --data, which nothing proves.")
    ] = False,
    smallest: Annotated[
        bool,
        typer.Option(
            "--smallest",
            help="Also cut where the file may get slower: runtimes compute channels in blocks of 8 or 16.",
        ),
    ] = False,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Cut the channels of a model that provably do nothing, and write a smaller file with the same answers.

    No pictures and no torch are needed. A difference above 1e-5 of an output's scale writes nothing.
    """
    import inspector

    console = Console("slim", json, quiet)
    check_files(model, check is not None, (out, certificate, data, also_unseen, smallest))
    if check is not None:
        found = inspector.check_slim(
            *check, model=model, provider=provider, threads=threads, allow_links=links or (),
            inputs=read_inputs(inputs), warn=console.note,
        )  # fmt: skip
        return print_check(console, found)
    opened = console.open(str(model), provider, threads, links, inputs)
    made = inspector.slim(
        opened, str(out), certificate=certificate, data=data, also_unseen=also_unseen, smallest=smallest,
        warn=console.note,
    )  # fmt: skip
    console.document(console.head(opened, **document(made)))
    return console.say(show(made))


def check_files(model: str | None, checks: bool, writing: Sequence[Any]) -> None:
    """Raise UsageError where a file is missing, or, with --check, for an option of writing.

    Args:
        model: MODEL.
        checks: Whether --check was given.
        writing: Values of the options that say what is written, in the order of the help.
    """
    from inspector.errors import UsageError

    flags = ("-o", "--certificate", "--data", "--also-unseen", "--smallest")
    names = [name for name, value in zip(flags, writing, strict=True) if value]
    if checks and names:
        raise UsageError(f"--check takes no {' or '.join(names)}", "it checks a file that is there, and writes nothing")
    if not checks and (model is None or writing[0] is None):
        raise UsageError("MODEL and -o FILE.onnx are missing", "or give --check FILE CERTIFICATE")


def print_check(console: Console, found: CheckedCertificate) -> None:
    """Print what --check found."""
    console.document(console.head(None, **document_check(found)))
    console.say(show_check(found))


def document(made: SlimmedModel) -> dict[str, Any]:
    """The keys of the JSON document."""
    from exporters.slimming import document_channels, document_difference

    return {
        "file": relative(made.path),
        "sha256": made.sha256,
        "bytes_before": made.bytes_before,
        "bytes_after": made.bytes_after,
        "parameters_before": made.parameters_before,
        "parameters_after": made.parameters_after,
        "nodes_before": made.nodes_before,
        "nodes_after": made.nodes_after,
        "cut": [document_channels(each) for each in made.cut],
        "kept": [document_channels(each) for each in made.kept],
        "max_abs": made.max_abs,
        "differences": [document_difference(each) for each in made.differences],
        "unseen": [{"layer": x.layer, "channels": list(x.channels), "values": list(x.values)} for x in made.unseen],
        "unseen_cut": made.unseen_cut,
        "unseen_more": made.unseen_more,
        "unseen_effect": [document_difference(each) for each in made.unseen_effect],
        "certificate": None if made.certificate is None else relative(made.certificate),
    }


def document_check(found: CheckedCertificate) -> dict[str, Any]:
    """The keys of the JSON document of --check."""
    from exporters.slimming import document_difference

    return {
        "model": identify(found.source, found.source_sha256, found.source_digest),
        "file": relative(found.path),
        "sha256": found.sha256,
        "channels": found.channels,
        "without_proof": found.without_proof,
        "pictures": found.pictures,
        "max_abs": found.max_abs,
        "differences": [document_difference(each) for each in found.differences],
    }


def show(made: SlimmedModel) -> str:
    """The same for people."""
    lines = []
    rows = [("cut", each.layer, len(each.channels), each.why) for each in made.cut]
    rows += [("kept", each.layer, len(each.channels), each.why) for each in made.kept]
    if rows:
        lines += [align_columns(("", "layer", "channels", "why"), rows, right="channels"), ""]
    for each in made.unseen:
        lines.append(f"{len(each.channels)} channels of {each.layer} never change on the pictures")
    if made.unseen:
        worst = max((x.relative for x in made.unseen_effect), default=0.0)
        verb = "went too" if made.unseen_cut else "would go too, with --also-unseen"
        lines += [
            f"{made.unseen_more} channels {verb}; on noise that changes outputs by {worst:.2g} of their scale",
            "",
        ]
    less = 1 - made.bytes_after / made.bytes_before
    lines.append(
        f"{relative(made.path)}: {made.bytes_before / 1e6:.2f} MB became {made.bytes_after / 1e6:.2f} MB "
        f"({less:.1%} less), {made.total} channels cut"
    )
    relative_most = max((x.relative for x in made.differences), default=0.0)
    lines.append(f"outputs differ by at most {made.max_abs:.2g}, {relative_most:.2g} of their scale")
    if made.certificate is not None:
        lines.append(f"certificate: {relative(made.certificate)}")
    return "\n".join(lines)


def show_check(found: CheckedCertificate) -> str:
    """The same for people."""
    more = f", {found.without_proof} without proof" if found.without_proof else ""
    return (
        f"{relative(found.path)} is what the certificate says: {found.channels} channels of "
        f"{relative(found.source)} were cut{more}, outputs differ by at most {found.max_abs:.2g} "
        f"on {found.pictures} pictures"
    )

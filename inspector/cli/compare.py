"""`inspector compare`: where two files, two runtimes, two releases part."""

from __future__ import annotations

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
    align_columns,
    format_shape,
    identify,
    progress_bar,
    read_stdin,
)
from inspector.cli.options import option
from inspector.errors import UsageError, one_line
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.api.contrast import ComparedModels
    from inspector.comparing import LayerDifference, ModelDifference, TuningChange
    from inspector.model import Model

_WHAT, _OUT = "What is compared", "What comes of it"
_RUNTIMES = (
    "A runtime to compare: a provider (cpu, cuda, ...), basic, extended, disabled, threads:N, reference, twin, "
    "openvino, web; again for more. The first counts as right; one alone is held against A as it runs without it."
)


def check_limit(value: float | None) -> float | None:
    """The limit of --fail-below.

    Raises:
        UsageError: No layer can have this ratio.
    """
    if value is not None and not -100 <= value <= 100:
        raise UsageError(
            f"--fail-below {value:g} is not between -100 and 100",
            "at 0 dB there is as much noise as signal, at 100 dB no more than rounding",
        )
    return value


def compare(
    model: Annotated[str, typer.Argument(metavar="A", help="The .onnx file that counts as right.")],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="B|IMAGE...",
            help="The .onnx file that is judged, then pictures or folders of pictures. Without a second file, the "
            "runtimes of A are compared; without pictures, three of soft colored noise are generated.",
        ),
    ] = None,
    runtime: Annotated[list[str] | None, option("--runtime", _WHAT, _RUNTIMES, "NAME")] = None,
    run: Annotated[
        str | None,
        option("--run", _WHAT, "The folder of the `inspector finetune` that made B from A: what it changed.", "DIR"),
    ] = None,
    fail_below: Annotated[
        float | None,
        option(
            "--fail-below",
            _OUT,
            "Exit 1 if a layer has a lower signal-to-noise ratio (SQNR), in decibels.",
            "DB",
            callback=check_limit,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE.html",
            rich_help_panel=_OUT,
            help="Write a page with both networks side by side.",
        ),
    ] = None,
    everything: Annotated[
        bool, option("--all", _OUT, "List every layer, and not only those that differ most.")
    ] = False,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> int:
    """Find where two files or two runtimes part: layer by layer, on the same pictures.

    Exit code 0: compared. 1: a layer is below --fail-below. 2: bad input.
    """
    from inspector.api.contrast import compare as find
    from inspector.api.contrast import split_files

    console = Console("compare", json, quiet)
    other, pictures = split_files(images or ())
    first = console.open(model, provider, threads, links, inputs)
    second = console.open(other, provider, threads, links, inputs) if other else None
    with progress_bar("compare", quiet) as move:
        found = find(first, second, read_stdin(pictures), runtimes=runtime, run=run, out=out, on_progress=move)
    tell(console, first, second, found, everything)
    return int(fail_below is not None and found.is_below(fail_below))


_SHOWN = 12


def tell(console: Console, first: Model, second: Model | None, found: ComparedModels, everything: bool) -> None:
    """The document, or the tables, and what was left out."""
    skipped = [{"path": x.path, "error": one_line(str(x.error))} for x in found.skipped]
    about = {"other": identify(second.path, second.sha256, second.digest) if second else None}
    console.document({**console.head(first, **about), **found.to_json(), "skipped": skipped, "page": found.path})
    for run in found.runs:
        console.say(show(run, everything))
    if found.changes is not None:
        console.say(show_changes(found.changes))
    for one in found.skipped:
        console.warn(f"skipped: {one.error}")
    if found.path is not None:
        console.say(f"the page: {relative(found.path)}")


def show(run: ModelDifference, everything: bool = False) -> str:
    """The comparison for people."""
    rows = list(run.layers)
    if not everything and len(rows) > _SHOWN:
        worst = sorted(rows, key=lambda x: (not x.parted, x.sqnr_db))[:_SHOWN]
        rows = [x for x in rows if x in worst]
    table = align_columns(
        ("layer", "shape", "SQNR", "largest", "worst channel", "began here", "CKA"),
        [_row(x) for x in rows],
        "SQNR largest worst channel began here CKA",
    )
    left = len(run.layers) - len(rows)
    lines = [f"{run.a_name} against {run.b_name}, {run.pictures} picture{'s' * (run.pictures != 1)}", table]
    lines += [f"... and {left} layers that are nearer; --all lists them"] if left else []
    for words, names in ((run.a_name, run.only_a), (run.b_name, run.only_b)):
        lines += [f"only in {words}: {', '.join(names)}"] if names else []
    lines += run.notes
    return "\n".join([*lines, _conclude(run)])


def _conclude(run: ModelDifference) -> str:
    parted = run.parted
    if parted is None:
        told = "they do not part: rounding explains every difference"
    elif parted.note:
        told = f"parted: {parted.layer} {parted.note}"
    else:
        told = f"parted: {parted.layer} ({parted.b_tensor}), own error {parted.excess:.3g} times what rounding explains"
    answers = run.answers
    if answers.agreement is None:
        return told
    changes = "".join(f"\n  {x.path}: {x.a} -> {x.b}" for x in answers.flipped)
    return f"{told}\nanswers agree on {100 * answers.agreement:.1f} %{changes}"


def _row(x: LayerDifference) -> tuple[str, ...]:
    name = x.layer if x.layer == x.b_layer else f"{x.layer} = {x.b_layer}"
    shape = format_shape(x.a_shape[1:])
    if x.note:
        return (name, shape, x.note, "", "", "", "")
    began = "" if x.began is None else f"{100 * x.began:.0f} %"
    own = f"{began} *" if x.parted else began
    return (
        name, shape, f"{x.sqnr_db:.1f} dB", f"{x.max_abs:.2e}", f"{x.worst_channel} ({x.worst_channel_db:.0f} dB)", own,
        "" if x.cka is None else f"{x.cka:.4f}",
    )  # fmt: skip


def show_changes(changes: TuningChange) -> str:
    """What a fine-tuning changed, for people."""
    frozen = [x for x in changes.layers if x.frozen and x.same]
    rows = [
        (
            x.layer, "" if x.weights is None else f"{100 * x.weights:.1f} %", f"{x.sqnr_db:.1f} dB",
            "" if x.cka is None else f"{x.cka:.3f}",
        )
        for x in changes.layers if not x.frozen
    ]  # fmt: skip
    lines = [
        f"{len(frozen)} of {len(changes.layers)} layers are identical, weights and activations",
        align_columns(("trained", "weights moved", "SQNR", "CKA"), rows, "weights moved SQNR CKA"),
    ]
    for x in changes.channels:
        serves = f", serves {x.serves}" if x.serves else ""
        lines.append(f"{x.layer} channel {x.channel}: {x.kept} of its {len(x.before)} best pictures are left{serves}")
    return "\n".join(lines)

"""`inspector finetune`: a classifier for your own pictures from a pretrained one, in the lecture's five steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from exporters.planning.options import CACHE_LIMIT, FineTuneOptions, list_option_fields
from inspector.cli.console import (
    Console,
    InputOption,
    JsonOption,
    LinksOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    identify,
    relative,
)
from inspector.cli.options import add_fields, read_inputs, read_settings
from inspector.errors import UsageError
from inspector.extras import import_from_here, prepare_torch

GROUPS = (
    "Data", "Base and unfreezing", "Training of the head", "Joint training", "Both trainings", "Regularisation",
    "Cache", "Machine", "Output",
)  # fmt: skip


@add_fields(FineTuneOptions, list_option_fields(), GROUPS)
def finetune(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A folder of class folders, or a CSV of path,label[,split][,weight][,group]."
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="SOURCE|FILE.onnx", help="The pretrained network.", rich_help_panel="Base and unfreezing"
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", metavar="RUN", help="The run folder; --dry-run needs none.", rich_help_panel="Output"
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="A file of weights for a SOURCE; see `inspector export`.",
            rich_help_panel="Base and unfreezing",
        ),
    ] = None,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained", help="Take the library's own weights of a SOURCE.", rich_help_panel="Base and unfreezing"
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.", rich_help_panel="Output")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and train nothing.", rich_help_panel="Output")
    ] = False,
    cache: Annotated[
        str | None,
        typer.Option("--cache", metavar="DIR", help="Folder where activations are stored.", rich_help_panel="Cache"),
    ] = None,
    cache_limit: Annotated[
        float,
        typer.Option(
            "--cache-limit",
            metavar="GB",
            help="Most gigabytes that the stored activations of all runs take together.",
            rich_help_panel="Cache",
        ),
    ] = CACHE_LIMIT,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write event files too; needs the extra tensorboard.",
            rich_help_panel="Output",
        ),
    ] = False,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
    **settings: Any,
) -> None:
    """Fine-tune a base on labelled pictures: new head, base frozen, head trained, layers unfrozen, joint training.

    The base is any .onnx classifier, a detector or segmenter, whose backbone is taken, or a SOURCE as in `inspector
    export`. What is frozen is computed once and kept.
    RUN gets the plan, the figures, the curves, the worst mistakes, checkpoints and model.onnx, checked layer by layer.
    """
    folder = _need_run(out, dry_run)
    prepare_torch()
    import_from_here()
    from exporters.finetuning import finetune as run

    console = Console("finetune", json, quiet)
    given: dict[str, Any] = read_settings(FineTuneOptions, settings) | {"weights": weights, "pretrained": pretrained}
    given |= {"allow_links": links or (), "inputs": read_inputs(inputs)}
    given |= {"note": console.note, "progress": _progress(console)}
    if dry_run:
        _show_plan(console, data, base, given)
        return
    more: dict[str, Any] = {"cache": cache, "cache_limit": cache_limit, "provider": provider, "threads": threads}
    with _resumable(console, folder):
        made = run(data, base, folder, resume=resume, tensorboard=tensorboard, **more, **given)
    console.document(document(console, made))
    console.say(show(made))


def _need_run(out: str | None, dry_run: bool) -> str:
    """The run folder; raises UsageError where none was given and one is needed."""
    if out is None and not dry_run:
        raise UsageError("no RUN was given", "give the folder to write: -o RUN")
    return out or ""


def _show_plan(console: Console, data: str, base: str, given: Mapping[str, Any]) -> None:
    from exporters.finetuning import plan_finetune

    plan, dataset = plan_finetune(data, base, **given)
    if console.json:
        from inspector.model import open_model

        opening = {"allow_links": given["allow_links"], "inputs": given["inputs"]}
        model = open_model(base, **opening) if Path(base).is_file() else None
        skipped = [{"path": s.name, "reason": s.reason} for s in dataset.skipped]
        console.document(console.head(model, plan=plan.to_json(), skipped=skipped))
    console.say(plan.text())


@contextmanager
def _resumable(console: Console, run: str) -> Iterator[None]:
    """Say how a run that is interrupted goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if (Path(run) / "config.json").is_file():
            console.note("the same command with --resume goes on from the last finished epoch")
        raise


def document(console: Console, made: Any) -> dict[str, Any]:
    """The JSON document."""
    return console.head(
        None,
        model=identify(made.model, made.sha256),
        run=relative(made.run),
        file=relative(made.model),
        best=dict(made.best),
        **({"test": {k: v for k, v in made.test.items() if k != "confusion"}} if made.test else {}),
        classes=list(made.plan.classes),
        frozen_unchanged=made.frozen_unchanged,
        frozen=made.frozen,
        seconds=made.seconds,
        parity=[row.to_json() for row in made.parity],
        notes=list(made.notes),
    )


def show(made: Any) -> str:
    """The same for people."""
    from inspector.agreement import find_worst
    from inspector.image.poses import describe_mean

    best = made.best
    lines = [
        f"best: epoch {best['epoch']} of the {best['phase']} phase; on validation accuracy {best['accuracy']:.1%}, "
        f"balanced accuracy {best['balanced_accuracy']:.1%}, loss {best['loss']:.3f}"
    ]
    figures = made.test or best
    if made.test:
        over = describe_mean(made.plan.options.get("poses", ()))
        lines.append(
            f"test{over}: accuracy {made.test['accuracy']:.1%}, balanced accuracy {made.test['balanced_accuracy']:.1%}"
        )
    recalls = [
        f"{name} {'-' if share is None else f'{share:.1%}'}"
        for name, share in zip(made.plan.classes, figures["recall"], strict=True)
    ]
    more = f" and {len(recalls) - 12} more" if len(recalls) > 12 else ""
    lines.append(f"recall: {', '.join(recalls[:12])}{more}")
    lines += [f"note: {line}" for line in made.notes if "joint phase did not" in line]
    lines.append(f"frozen: the weights and statistics that were frozen {_frozen(made)}")
    worst = find_worst(made.parity)
    lines.append(
        f"{made.model}: {len(made.parity)} outputs agree between torch and onnxruntime; the largest difference is "
        f"{worst.relative:.1e} of the scale of {worst.layer}"
    )
    lines.append("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in made.seconds.items()))
    model, run = quote(relative(made.model)), quote(relative(made.run))
    lines.append(f"to walk through it: inspector report {model} IMAGE --run {run} -o report.html")
    return "\n".join(lines)


def _frozen(made: Any) -> str:
    moved = [
        f"{k}: SHA-256 {d['before'][:12]}, now {d['after'][:12]}"
        for k, d in made.frozen.items()
        if len(set(d.values())) > 1
    ]
    if not made.frozen_unchanged:
        return f"MOVED: do not use this model{''.join(f'; {line}' for line in moved)}"
    file = made.frozen.get("file")
    return f"did not move: SHA-256 {file['after'][:12]} before and after" if file else "did not move"


def _progress(console: Console) -> Callable[[str, int, int], None]:
    """A line that is written over on a terminal; nothing where nobody watches."""
    if console.quiet or not sys.stderr.isatty():
        return lambda what, done, total: None

    def show_line(what: str, done: int, total: int) -> None:
        print(f"\r\x1b[K{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show_line

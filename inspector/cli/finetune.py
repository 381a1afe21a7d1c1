"""`inspector finetune`: a classifier for your own pictures from a pretrained one, in the lecture's five steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from inspector.cli.console import Console, JsonOption, ProviderOption, QuietOption, ThreadsOption, relative
from inspector.extras import import_from_here, prepare_torch


def finetune(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder of class folders, or a CSV of path,label[,split][,weight].")
    ],
    base: Annotated[str, typer.Option("--base", metavar="SOURCE|FILE.onnx", help="The pretrained network.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="RUN", help="The run folder.")],
    unfreeze_from: Annotated[
        str | None, typer.Option("--unfreeze-from", metavar="LAYER", help="First layer or block of the joint training.")
    ] = None,
    unfreeze_last: Annotated[
        int | None, typer.Option("--unfreeze-last", metavar="N", help="Or the last N layers with weights; default 3.")
    ] = None,
    head_epochs: Annotated[int, typer.Option("--head-epochs", metavar="N", help="Most epochs of the head.")] = 30,
    joint_epochs: Annotated[
        int, typer.Option("--joint-epochs", metavar="N", help="Most joint epochs; 0 for none.")
    ] = 15,
    head_rate: Annotated[
        float, typer.Option("--head-rate", metavar="RATE", help="Peak rate of the head phase.")
    ] = 3e-3,
    joint_rate: Annotated[
        float, typer.Option("--joint-rate", metavar="RATE", help="Its peak, relative to each weight.")
    ] = 5e-3,
    lowest_rate: Annotated[
        float, typer.Option("--lowest-rate", metavar="SHARE", help="Share of it for the first unfrozen layer.")
    ] = 0.3,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Pictures a step.")] = 32,
    weight_decay: Annotated[float, typer.Option("--weight-decay", metavar="X", help="Of AdamW, on weights.")] = 0.01,
    label_smoothing: Annotated[float, typer.Option("--label-smoothing", metavar="X", help="Below 1.")] = 0.1,
    dropout: Annotated[float, typer.Option("--dropout", metavar="X", help="Of the features before the head.")] = 0.2,
    mixup: Annotated[
        float, typer.Option("--mixup", metavar="ALPHA", help="Mixes pairs at the boundary; 0: off.")
    ] = 0.0,
    average: Annotated[
        float, typer.Option("--average", metavar="DECAY", help="Running average of the joint weights; 0: off.")
    ] = 0.0,
    schedule: Annotated[
        str, typer.Option("--schedule", metavar="onecycle|cosine", help="Fresh in each phase.")
    ] = "onecycle",
    balance: Annotated[
        str, typer.Option("--balance", metavar="weights|sampling|none", help="What is done for rare classes.")
    ] = "weights",
    select: Annotated[
        str, typer.Option("--select", metavar="METRIC", help="balanced_accuracy, accuracy or loss, on validation.")
    ] = "balanced_accuracy",
    patience: Annotated[
        int | None, typer.Option("--patience", metavar="N", help="Epochs without a new best that end a phase.")
    ] = None,
    augment: Annotated[
        str, typer.Option("--augment", metavar="KIND,...", help="hflip, vflip, rotate, crop, colour, or none.")
    ] = "hflip,crop,colour",
    versions: Annotated[int, typer.Option("--versions", metavar="N", help="Stored of each training picture.")] = 4,
    poses: Annotated[
        str, typer.Option("--poses", metavar="KIND,...", help="Test answers averaged over hflip, vflip, rotate.")
    ] = "none",
    val: Annotated[float, typer.Option("--val", metavar="SHARE", help="Held out where DATA has no such split.")] = 0.2,
    test: Annotated[float, typer.Option("--test", metavar="SHARE", help="The same for testing.")] = 0.0,
    size: Annotated[
        int | None, typer.Option("--size", metavar="PX", min=8, help="Input side instead of the base's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of splits, head and order.")] = 0,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE", help="Weights of a SOURCE; see `inspector export`.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The library's own weights of a SOURCE.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, train nothing.")] = False,
    cache: Annotated[str | None, typer.Option("--cache", metavar="DIR", help="Where activations are stored.")] = None,
    cache_limit: Annotated[float, typer.Option("--cache-limit", metavar="GB", help="Of all runs together.")] = 20.0,
    cache_dtype: Annotated[str, typer.Option("--cache-dtype", metavar="TYPE", help="float16 or float32.")] = "float16",
    precision: Annotated[
        str, typer.Option("--precision", metavar="TYPE", help="auto (bfloat16 on a GPU), float32 or bfloat16.")
    ] = "auto",
    norms: Annotated[
        str, typer.Option("--norms", metavar="kept|batch", help="batch: norms behind unfrozen layers, folded later.")
    ] = "kept",
    devices: Annotated[
        int, typer.Option("--devices", metavar="N", help="Processes or GPUs; needs the extra fabric.")
    ] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Event files too; needs that extra.")] = False,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune a base on labelled pictures: new head, base frozen, head trained, layers unfrozen, joint training.

    The base is any .onnx classifier or a SOURCE as in `inspector export`. What is frozen is computed once and kept.
    RUN gets the plan, the figures, the curves, the worst mistakes, checkpoints and model.onnx, checked layer by layer.
    """
    prepare_torch()
    import_from_here()
    from exporters.finetuning import finetune as run
    from exporters.finetuning import plan_finetune
    from inspector.image.poses import kinds_of

    console = Console("finetune", json, quiet)
    settings: dict[str, Any] = {
        "unfreeze_from": unfreeze_from, "unfreeze_last": unfreeze_last, "head_epochs": head_epochs,
        "joint_epochs": joint_epochs, "head_rate": head_rate, "joint_rate": joint_rate, "lowest_rate": lowest_rate,
        "batch": batch, "weight_decay": weight_decay, "label_smoothing": label_smoothing, "dropout": dropout,
        "mixup": mixup, "average": average, "schedule": schedule, "balance": balance, "select": select,
        "patience": patience, "versions": versions, "val": val, "test": test, "seed": seed,
        "cache_dtype": cache_dtype, "precision": precision, "norms": norms, "devices": devices,
        "augment": kinds_of(augment),
        "poses": kinds_of(poses),
        "size": (size, size) if size else None,
    }  # fmt: skip
    shared: dict[str, Any] = {
        "weights": weights, "pretrained": pretrained, "note": console.note, "progress": _progress(console),
    }  # fmt: skip
    if dry_run:
        plan, dataset = plan_finetune(data, base, **shared, **settings)
        skipped = [{"path": s.name, "reason": s.reason} for s in dataset.skipped]
        if json:
            from inspector.model import open_model

            model = open_model(base) if Path(base).is_file() else None
            console.document(console.head(model, plan=plan.to_json(), skipped=skipped))
        console.say(plan.text())
        return
    try:
        made = run(
            data, base, out, resume=resume, cache=cache, cache_limit=cache_limit, tensorboard=tensorboard,
            provider=provider, threads=threads, **shared, **settings,
        )  # fmt: skip
    except KeyboardInterrupt:
        if (Path(out) / "config.json").is_file():
            console.note("the same command with --resume goes on from the last finished epoch")
        raise
    console.document(document(console, made))
    console.say(show(made))


def document(console: Console, made: Any) -> dict[str, Any]:
    """The JSON document."""
    return console.head(
        None,
        model={"path": relative(made.model), "sha256": made.sha256},
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
    from inspector.compare import find_worst
    from inspector.image.poses import mean_over

    best = made.best
    lines = [
        f"best: epoch {best['epoch']} of the {best['phase']} phase; on validation accuracy {best['accuracy']:.1%}, "
        f"balanced accuracy {best['balanced_accuracy']:.1%}, loss {best['loss']:.3f}"
    ]
    figures = made.test or best
    if made.test:
        over = mean_over(made.plan.options.get("poses", ()))
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

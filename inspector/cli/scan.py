"""`inspector scan`: what a network has learned from very many pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.cli.console import (
    Console,
    InputOption,
    JsonOption,
    LinksOption,
    ProviderOption,
    QuietOption,
    identify,
    progress_bar,
    relative,
)
from inspector.cli.options import option
from inspector.errors import UsageError
from inspector.text import to_json

if TYPE_CHECKING:
    from inspector.scanning import Scan

_HOW, _WHAT = "How it is done", "What is kept"
_DATA = (
    "Folders (the folder below is the class), CSV and Parquet lists of paths and labels, tar (WebDataset) and "
    "zip files, pictures, and addresses such as s3://bucket/folder. After merge and compare: folders of scans."
)


def scan(
    model: Annotated[str, typer.Argument(metavar="MODEL|merge|compare", help="An .onnx file, or what to do.")],
    sources: Annotated[list[str], typer.Argument(metavar="DATA...", help=_DATA)],
    out: Annotated[str, typer.Option("-o", "--out", metavar="SCAN", help="The folder of the scan.")],
    engine: Annotated[
        str,
        option("--engine", _HOW, "The cores of this machine, a Ray cluster, or this process.", "local|ray|plain"),
    ] = "local",
    shard: Annotated[
        str | None,
        option("--shard", _HOW, "Only each N-th shard from the I-th on; merge joins the N parts.", "I/N"),
    ] = None,
    resume: Annotated[
        bool, option("--resume", _HOW, "Go on with what is in the folder; set-aside shards are tried again.")
    ] = False,
    shard_size: Annotated[
        int, option("--shard-size", _HOW, "Pictures of a shard; the answer does not depend on it.", "N", min=1)
    ] = 256,
    threads: Annotated[
        int | None,
        option("--threads", _HOW, "Worker processes of one thread each; one for each core unless given.", "N", min=1),
    ] = None,
    top: Annotated[int, option("--top", _WHAT, "Pictures that are kept for each channel.", "K", min=1, max=100)] = 9,
    layer: Annotated[
        list[str] | None,
        option(
            "--layer", _WHAT, "Look at this layer, again for more; the last of each resolution unless given.", "NAME"
        ),
    ] = None,
    embed: Annotated[
        str | None,
        option("--embed", _WHAT, "The layer of the pictures' embedding; the last with maps unless given.", "NAME"),
    ] = None,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Look at very many pictures: the best patches of each channel, the answer for each picture, in tables and a page.

    `inspector scan merge SCAN... -o SCAN` joins parts that were made with --shard, and `inspector scan compare A B -o
    FILE.json` says what has moved from scan A to B. Models of these names are given as ./merge and ./compare.
    """
    import inspector

    console = Console("scan", json, quiet)
    if model == "compare":
        return tell_drift(console, sources, out)
    with progress_bar("scan", quiet) as move:
        if model == "merge":
            check_merge(shard, layer, embed, resume)
            made = inspector.merge_scans(sources, out, on_progress=move)
        else:
            opened = console.open(model, provider, None, links, inputs)
            made = inspector.scan(
                opened, sources, out, engine=engine, shard=read_part(shard),
                top=top, layers=console.layers(opened, layer) or None, embed=embed, resume=resume, workers=threads,
                shard_size=shard_size, on_progress=move,
            )  # fmt: skip
    return tell(console, made)


def check_merge(*given: Any) -> None:
    """Raise UsageError for options that say how to look, where everything has been looked at."""
    if any(given):
        raise UsageError(
            "merge joins what is there: --shard, --layer, --embed and --resume have no meaning for it",
            "a model called merge is given as ./merge",
        )


def read_part(text: str | None) -> tuple[int, int] | None:
    """The two numbers of --shard."""
    if text is None:
        return None
    first, slash, second = text.partition("/")
    if not (slash and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise UsageError(f"--shard {text!r} is not I/N", "give for example 1/8, 2/8, ... 8/8")
    return int(first), int(second)


def tell(console: Console, made: Scan) -> None:
    """Give out the document, or the same for people."""
    for path, reason in made.skipped[:20]:
        console.warn(f"skipped: {path}: {reason}")
    if len(made.skipped) > 20:
        console.warn(f"skipped: {len(made.skipped) - 20} more; scan.json lists all")
    reference = made.plan.model
    console.document(
        {
            **console.head(None),
            "model": identify(reference.path, reference.sha256, reference.digest),
            "task": made.plan.task,
            "scan": relative(made.folder),
            "pictures": made.pictures,
            "skipped": [{"path": path, "error": reason} for path, reason in made.skipped],
            "seconds": round(made.seconds, 3),
            "shards": made.shards,
            "finished": made.finished,
        }
    )
    console.say(
        f"{relative(made.folder)}: {made.pictures:,} pictures in {made.shards} shards, {len(made.skipped)} skipped, "
        f"{made.seconds:.1f} s"
    )


def tell_drift(console: Console, sources: Sequence[str], out: str) -> None:
    """Compare two scans, write the document and say it."""
    from inspector import compare_scans
    from inspector.files import write_text
    from inspector.guard import check_outputs

    if len(sources) != 2:
        raise UsageError(
            f"compare takes two scans, and {len(sources)} were given", "inspector scan compare A B -o FILE.json"
        )
    held = [path for one in sources for path in Path(one).rglob("*") if path.is_file()]
    check_outputs({"-o": out}, {"a file of a scan that is compared": held})
    found = compare_scans(sources[0], sources[1])
    document = {
        **console.head(None),
        "command": "scan compare",
        "file": relative(out),
        "a": sources[0],
        "b": sources[1],
        **found.to_json(),
    }
    write_text(out, to_json(document, indent=1) + "\n")
    console.document(document)
    moved = sorted((x for x in found.channels if x.moved), key=lambda x: -x.stability)
    console.say(f"{len(moved)} of {len(found.channels)} channels have moved (level {found.level:g} for all together)")
    for x in moved[:10]:
        console.say(f"  {x.layer} : {x.channel}  stability {x.stability:.2f}, p {x.probability:.2g}")
    for what, p in (("predictions", found.class_probability), ("embeddings", found.embedding_probability)):
        if p is not None:
            console.say(f"{what}: {'moved' if p < found.level else 'no change found'} (p {p:.2g})")

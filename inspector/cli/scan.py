"""`inspector scan`: what a network has learned from very many pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    identify,
    progress_bar,
    relative,
)
from inspector.cli.ends import Interrupted
from inspector.cli.options import option
from inspector.errors import UsageError
from inspector.text import count, to_json

if TYPE_CHECKING:
    from inspector.scanning import Scan
    from inspector.scanning.plan import ScanPlan

_HOW, _WHAT = "How it is done", "What is kept"
_DATA = (
    "Folders (the folder below is the class), CSV and Parquet lists of paths and labels, tar (WebDataset) and "
    "zip files, pictures, and addresses such as s3://bucket/folder."
)
_Scans = Annotated[list[str], typer.Argument(metavar="SCAN...", help="Folders of scans.")]
_Folder = Annotated[str, typer.Option("-o", "--out", metavar="SCAN", help="The folder of the scan.")]

_Patterns = Annotated[
    str | None,
    option("--patterns", _WHAT, "Patterns of `inspector filters -o DIR`, beside the patches on the page.", "DIR"),
]


def scan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx file, from any exporter.")],
    sources: Annotated[list[str], typer.Argument(metavar="DATA...", help=_DATA)],
    out: _Folder,
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
    patterns: _Patterns = None,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Look at very many pictures: the best patches of each channel, the answer for each picture, in tables and a page.

    `inspector scan merge SCAN... -o SCAN` joins parts that were made with --shard, and `inspector scan compare A B -o
    FILE.json` says what has moved from scan A to B; each has a --help. Models of these names are ./merge and ./compare.
    """
    import inspector

    console = Console("scan", json, quiet)
    opened = console.open(model, provider, None, links, inputs)
    with progress_bar("scan", quiet) as move, tell_resume(out):
        made = inspector.scan(
            opened, sources, out, engine=engine, shard=read_part(shard),
            top=top, layers=console.layers(opened, layer) or None, embed=embed, resume=resume, workers=threads,
            shard_size=shard_size, patterns=patterns, warn=console.note, on_progress=move,
        )  # fmt: skip
    tell(console, made)


def join_parts(
    sources: _Scans, out: _Folder, patterns: _Patterns = None, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Join the parts of a scan that were made with --shard, in any order: the same bytes as in one piece."""
    import inspector

    console = Console("scan", json, quiet)
    with progress_bar("merge", quiet) as move:
        made = inspector.merge_scans(sources, out, patterns=patterns, warn=console.note, on_progress=move)
    tell(console, made)


def tell_moves(
    sources: Annotated[list[str], typer.Argument(metavar="A B", help="The folders of two scans of the same layers.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.json", help="The document that is written.")],
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what has moved from scan A to scan B: channels, predictions and embeddings, at a stated level."""
    tell_drift(Console("scan compare", json, quiet), sources, out)


@contextmanager
def tell_resume(out: str) -> Iterator[None]:
    """Say of a scan that is interrupted how it goes on."""
    from inspector.scanning.plan import PLAN_NAME

    try:
        yield
    except KeyboardInterrupt:
        if not (Path(out) / PLAN_NAME).exists():
            raise
        raise Interrupted("interrupted", "the same command with --resume goes on with what is done") from None


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
    console.document(
        {
            **console.head(None),
            "model": _identify(made.plan),
            "task": made.plan.task,
            "scan": relative(made.folder),
            "pictures": made.pictures,
            "skipped": [{"path": path, "error": reason} for path, reason in made.skipped],
            "seconds": round(made.seconds, 3),
            "shards": made.shards,
            "finished": made.finished,
        }
    )
    told = [count(made.pictures, "picture"), f"in {count(made.shards, 'shard')}", f"{len(made.skipped):,} skipped"]
    console.say(f"{relative(made.folder)}: {' '.join(told[:2])}, {told[2]}, {made.seconds:.1f} s")
    if not made.shards:
        console.note(
            f"this part has nothing to do: the scan has {count(made.plan.shards, 'shard')} of "
            f"{count(made.plan.shard_size, 'picture')}, and --shard asks for one behind the last; "
            "a smaller --shard-size makes more"
        )
    if not made.finished:
        console.note("this is a part: `inspector scan merge` makes the tables and the page of all parts")


def _identify(plan: ScanPlan) -> dict[str, str]:
    return identify(plan.model.path, plan.model.sha256, plan.model.digest)


def tell_drift(console: Console, sources: Sequence[str], out: str) -> None:
    """Compare two scans, write the document and say it."""
    from inspector import compare_scans
    from inspector.files import write_text
    from inspector.guard import check_outputs
    from inspector.scanning.plan import load_plan

    if len(sources) != 2:
        raise UsageError(
            f"compare takes two scans, and {len(sources)} were given", "inspector scan compare A B -o FILE.json"
        )
    held = [path for one in sources for path in Path(one).rglob("*") if path.is_file()]
    check_outputs({"-o": out}, {"a file of a scan that is compared": held})
    found = compare_scans(sources[0], sources[1])
    models = [load_plan(Path(one)) for one in sources]
    document = {
        **console.head(None),
        "model": _identify(models[0]),
        "task": models[0].task,
        "file": relative(out),
        "a": relative(sources[0]),
        "b": relative(sources[1]),
        "b_model": _identify(models[1]),
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

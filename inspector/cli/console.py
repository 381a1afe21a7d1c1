"""What the commands share: options, the one document on stdout, lines on stderr, and the loop over pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.cli.options import read_inputs
from inspector.cli.streams import StdoutLost, silence, write_error_line
from inspector.errors import ImageError, InspectorError
from inspector.text import relative as relative
from inspector.text import to_json
from inspector.version import __version__

if TYPE_CHECKING:
    from rich.progress import TaskID

    from inspector.api.model import Model
    from inspector.api.pictures import Picture
    from inspector.layers import Layer
    from inspector.model import Model as AnyModel
    from inspector.model import Prediction

SCHEMA = 1
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx file, from any exporter.")]
_IMAGES = "Pictures, folders of pictures, or - for one on stdin. A picture that fails is skipped; exit 2 if all fail."
ImagesArgument = Annotated[list[str], typer.Argument(metavar="IMAGE...", help=_IMAGES)]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")]
ProviderOption = Annotated[
    str, typer.Option("--provider", metavar="NAME", help="What computes: auto, cpu, cuda, ...; see `inspector doctor`.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Threads of onnxruntime; all cores unless given.")
]
LinksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-links",
        metavar="DIR",
        help="A folder that links from the model to its external data may lead into; again for more.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input", metavar="NAME=VALUE,...", help="The value of an input that is no picture; again for another."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr; only errors.")]
OutOption = Annotated[str, typer.Option("-o", "--out", metavar="DIR", help="Folder that the files are written into.")]


@dataclass
class Console:
    """Where a command's results and remarks go."""

    command: str
    json: bool = False
    quiet: bool = False
    _said: set[str] = field(default_factory=set)

    def note(self, line: str) -> None:
        """A remark on stderr, once."""
        if not self.quiet:
            self.warn(line)

    def warn(self, line: str) -> None:
        """What went wrong, on stderr, once; --quiet does not keep it back."""
        if line not in self._said:
            self._said.add(line)
            write_error_line(f"inspector: {line}")

    def say(self, text: str) -> None:
        """A line for people on stdout; nothing when a document goes there."""
        if not self.json:
            _print(text)

    def open(
        self,
        path: str,
        provider: str = "auto",
        threads: int | None = None,
        links: Sequence[str] | None = None,
        inputs: Sequence[str] | None = None,
    ) -> Model:
        """Open a model and say once what had to be assumed.

        Args:
            path: MODEL.
            provider: Of --provider.
            threads: Of --threads.
            links: Of --allow-links.
            inputs: Of --input.
        """
        from inspector.api.model import open_model

        model = open_model(
            path, provider=provider, threads=threads, allow_links=links or (), inputs=read_inputs(inputs),
            warn=self.note,
        )  # fmt: skip
        if model.assumed:
            self.note(
                f"{path} does not say everything; assumed: {'; '.join(model.assumed)}. "
                "`inspector annotate` writes the right values into the file"
            )
        return model

    def layers(self, model: AnyModel, names: Sequence[str] | None) -> list[Layer]:
        """The layers that --layer names; says which one was taken where the name is only a part of another."""
        from inspector.layers import find_block

        found = []
        for name in names or ():
            block = find_block(model.layers, name)
            layer = block[-1]
            if len(block) > 1:
                self.note(f"--layer {name}: taken for {layer.name}, the last of the {len(block)} layers of that block")
                found.append(layer)
                continue
            exact = name.strip() in (layer.name, layer.tensor, *layer.aliases, *layer.nodes)
            if not exact and not layer.name.lower().endswith(name.strip().lower()):
                self.note(f"--layer {name}: taken for {layer.name}, the only one with that in its name")
            found.append(layer)
        return found

    def head(self, model: AnyModel | None, /, **more: Any) -> dict[str, Any]:
        """The keys that every document begins with."""
        document: dict[str, Any] = {"schema": SCHEMA, "command": self.command, "version": __version__}
        if model is not None:
            from inspector.graph import find_training_nodes

            about = identify(model.path, model.sha256, model.digest)
            document["model"] = {**about, "training_mode": bool(find_training_nodes(model.graph))}
            document["task"] = model.task
        return {**document, **more}

    def document(self, document: Mapping[str, Any]) -> None:
        """The one document, when it was asked for."""
        if self.json:
            _print(to_json(document))

    def each(
        self,
        model: AnyModel,
        images: Sequence[str],
        handle: Callable[[Picture], Mapping[str, Any]],
        show: Callable[[Mapping[str, Any]], str],
        **more: Any,
    ) -> None:
        """Call `handle` for every picture and give out what it returns: as lines, or as `images` of one document.

        Entries are given out as they come, so memory does not grow with their number. A picture that cannot be read,
        or that the network does not take, is reported, skipped and listed under `skipped`; when none worked, that is
        the error. Whatever else ends the loop, the document is closed and holds the error. The first picture tells
        whether an assumed preprocess decides the answer.
        """
        from inspector.api.pictures import Done, handle_pictures
        from inspector.cli.entries import EntryStream

        stream = EntryStream(self, lambda: self.head(model, **more), show)
        try:
            for step in handle_pictures(self._progress(find_given_pictures(images)), handle):
                stream.take(step)
                if stream.done == 1 and isinstance(step, Done):
                    stream.tail |= self.alternatives(model, step.picture)
        except (BrokenPipeError, StdoutLost):  # nobody reads the document any more
            raise
        except (Exception, KeyboardInterrupt) as error:
            stream.fail(error)
        stream.close()

    def alternatives(self, model: AnyModel, picture: Picture) -> dict[str, Any]:
        """Say which other preprocesses would change a picture's top class, where the model's was assumed.

        Returns:
            The key ``alternatives`` of a document; nothing where the preprocess is known, or with --quiet.
        """
        from inspector.model import find_alternatives

        try:
            found = None if self.quiet else find_alternatives(model, picture.source)
        except InspectorError:  # a head that does not run, behind layers that do
            found = None
        if found is None:
            return {}
        told = [
            {"preprocess": x.preprocess, "index": x.top.index, "label": x.top.label, "probability": x.top.probability}
            for x in found
        ]
        if told:
            first, *others = [(x["preprocess"], format_top([x])) for x in told]
            more = "".join(f", with {name} {line}" for name, line in others)
            self.note(f"{picture.path}: with preprocess {first[0]} the top class would be {first[1]}{more}")
        return {"alternatives": told}

    def _progress(self, pictures: Iterator[Picture | ImageError]) -> Iterator[Picture | ImageError]:
        """The same pictures with a bar on stderr, where there are several and somebody watches."""
        if self.quiet or not sys.stderr.isatty():
            yield from pictures
            return
        everything = list(pictures)
        with progress(len(everything), self.command, self.quiet) as advance:
            for picture in everything:
                yield picture
                advance()


def identify(path: str | PathLike[str], sha256: str, digest: str = "") -> dict[str, str]:
    """`model` of a document.

    Args:
        path: MODEL.
        sha256: Of the file.
        digest: Of graph and weights, where some of them lie outside of the file.
    """
    return {"path": relative(path), "sha256": sha256, "digest": digest or sha256}


def _print(text: str) -> None:
    """On stdout. A reader that left does not keep a command from its end and its exit code."""
    try:
        print(text)
    except BrokenPipeError:
        silence(sys.stdout)


@contextmanager
def progress_bar(what: str, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar with time left on stderr, the one of all commands. Silent where nobody watches.

    Args:
        what: What is being done.
        quiet: Show nothing.

    Yields:
        A function that takes how much is done and how much there is, and a third value where it is something else
        that is being done now.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, total, about="": None
        return
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=RichConsole(stderr=True), transient=True) as bar:

        def move(done: int, total: int, about: str = "") -> None:
            if total < 2:
                return
            name = about or what
            if name not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total, visible=True)

        yield move


@contextmanager
def progress(total: int, what: str, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """The same bar for a number of steps that is known; the value is called after each step."""
    done = 0
    with progress_bar(what, quiet or total < 2) as move:

        def advance() -> None:
            nonlocal done
            done += 1
            move(done, total)

        yield advance


def find_given_pictures(images: Sequence[str]) -> Iterator[Picture | ImageError]:
    """The pictures that arguments name: files as they are, folders searched, `-` read from stdin."""
    from inspector.api.pictures import Picture
    from inspector.api.pictures import find_pictures as find
    from inspector.image import read_limited

    for given in images:
        if given != "-":
            yield from find(given)
            continue
        try:
            yield Picture("-", read_limited(sys.stdin.buffer))
        except OSError as error:
            yield ImageError(f"stdin cannot be read: {error.strerror or error}", "give a picture to it, or a path")


def read_stdin(images: Sequence[str]) -> list[str | Picture]:
    """The same arguments, with the picture on stdin where `-` stands for it."""
    from inspector.api.pictures import Picture
    from inspector.image import read_limited

    try:
        return [Picture("-", read_limited(sys.stdin.buffer)) if given == "-" else given for given in images]
    except OSError as error:
        raise ImageError(
            f"stdin cannot be read: {error.strerror or error}", "give a picture to it, or a path"
        ) from None


def align_columns(headers: Sequence[str], rows: Sequence[Sequence[Any]], right: str = "") -> str:
    """Columns lined up for people.

    Args:
        headers: One for each column.
        rows: The cells of each line.
        right: Headers whose column is aligned to the right, separated by blanks.
    """
    cells = [list(map(str, headers)), *([*map(str, row)] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    aligned = [h in right.split() for h in headers]
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, aligned, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def document_top(top: Sequence[Prediction]) -> list[dict[str, Any]]:
    """`top` of a document."""
    return [{"index": p.index, "label": p.label, "probability": p.probability, "score": p.score} for p in top]


def format_top(top: Sequence[Mapping[str, Any]]) -> str:
    """`Egyptian cat 76.1 %, tabby 10.3 %`; with semicolons between labels that hold commas themselves."""
    between = "; " if any("," in p["label"] for p in top) else ", "
    # A broken network's probabilities are NaN.
    told = (f"{p['probability']:.1%}".replace("%", " %") if isfinite(p["probability"]) else "not finite" for p in top)
    return between.join(f"{p['label']} {share}" for p, share in zip(top, told, strict=True))


def format_alarm(attached: Mapping[str, Any]) -> str:
    """`(unknown 1.00, above 0.92)` where an attached output of the file raises an alarm, else nothing."""
    found = attached.get("unknown")
    return f" (unknown {found['value']:.2f}, above {found['threshold']:.2f})" if found and found["alarm"] else ""


def format_shape(shape: Sequence[Any] | None) -> str:
    """`N x 32 x 112 x 112`, `?` where a size is not known."""
    return "?" if shape is None else " x ".join("?" if s is None else str(s) for s in shape)

"""The walk past the pictures: each is opened and run once, and all probes see it go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inspector.auditing.forward_pass import ForwardPass, LayerOutput
from inspector.auditing.needs import Need
from inspector.auditing.pictures import EntryReader, PictureEntry
from inspector.auditing.probes import Probe
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.errors import ImageError
from inspector.image import open_image

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    OpenedPicture = tuple[Path | bytes, Image]

_ANSWERS: frozenset[Need] = frozenset(("answers", "detection", "segmentation"))

Advance = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


@dataclass
class AuditWalk:
    """The probes of one audit, and what became of them.

    Attributes:
        subject: What is audited.
        probes: Those that could be made, by their class.
        missing: Those that lack something.
        broken: Those that raised, or whose model did.
    """

    subject: Subject
    probes: dict[type[Probe], Probe] = field(default_factory=dict)
    missing: dict[type[Probe], NotChecked] = field(default_factory=dict)
    broken: dict[type[Probe], Exception] = field(default_factory=dict)

    def add(self, kind: type[Probe]) -> Probe | None:
        """Make a probe, once; None where it lacks something or breaks."""
        if kind not in self.probes and kind not in self.missing:
            try:
                self.probes[kind] = kind(self.subject)
            except NotChecked as reason:
                self.missing[kind] = reason
            except Exception as error:  # a project's own probe may raise anything
                self.broken[kind] = error
        return self.probes.get(kind)

    def pass_pictures(self, advance: Advance | None = None) -> None:
        """Open and run every picture once and show it to the probes."""
        entries = self.subject.pictures.entries
        if not entries or all(probe.settled for probe in self.probes.values()):
            return
        model = self.subject.model
        opened = open_pictures(entries, self.subject.reader, ahead=model.threads != 1, warn=model.warn)
        for done, (index, picture) in enumerate(opened):
            entry = entries[index]
            active = [
                (kind, probe) for kind, probe in self.probes.items() if kind not in self.broken and not probe.settled
            ]
            if not active:
                return
            layers = any(probe.needs_layers(index) for _, probe in active)
            answers = any(_ANSWERS & set(probe.needs) for _, probe in active)
            try:
                forward = self._run(index, picture, layers, answers)
            except ImageError as error:
                self.subject.unreadable[entry.shown] = error.message
                continue
            except Exception as error:  # onnxruntime's, or memory: the same would come for every picture
                self.broken.update(dict.fromkeys(self.probes, error))
                return
            for kind, probe in active:
                try:
                    probe.look(forward)
                except Exception as error:  # one check's trouble is not the others'
                    self.broken[kind] = error
            if advance is not None:
                advance(done + 1, len(entries))

    def _run(
        self, index: int, opened: OpenedPicture | ImageError, with_layers: bool, with_answers: bool
    ) -> ForwardPass:
        if isinstance(opened, ImageError):
            raise opened
        source, picture = opened
        model = self.subject.model
        layers = model.layers if with_layers else ()
        classifies = model.classifier is not None
        outputs = model.decoder.outputs if with_answers and model.decoder is not None else ()
        tensor = model.preprocess.tensor(picture)
        wanted = layers or classifies or outputs
        values, classes, answers = model.run_layers(tensor, layers, classifies, outputs) if wanted else ({}, None, {})
        return ForwardPass(
            index, self.subject.pictures.entries[index], source, picture, tensor, classes,
            {layer.name: LayerOutput(layer, values[layer.name][0]) for layer in layers if values[layer.name].size},
            answers,
        )  # fmt: skip


def open_pictures(
    entries: Sequence[PictureEntry], reader: EntryReader, *, ahead: bool, warn: Callable[[str], None] | None = None
) -> Iterator[tuple[int, OpenedPicture | ImageError]]:
    """Open pictures one after the other.

    Args:
        entries: Which ones.
        reader: What reads them.
        ahead: Whether the next ones are decoded, in a thread, while the current one is looked at.
        warn: As for `open_image`.

    Yields:
        The index, and the picture with its file or what was read of it; the error where it cannot be opened.
    """
    if not ahead:
        yield from ((index, _open(entry, reader, warn)) for index, entry in enumerate(entries))
        return
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[OpenedPicture | ImageError]] = []
        for index in range(len(entries)):
            while len(waiting) < 2 and index + len(waiting) < len(entries):
                waiting.append(pool.submit(_open, entries[index + len(waiting)], reader, warn))
            yield index, waiting.pop(0).result()


def _open(entry: PictureEntry, reader: EntryReader, warn: Callable[[str], None] | None) -> OpenedPicture | ImageError:
    try:
        source = reader.read(entry)
        return source, open_image(source, warn=warn)
    except ImageError as error:
        return error

"""Frames that are kept: those of which the network is not sure, and those that are unlike what it was judged on."""

from __future__ import annotations

import io
import os
import re
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspector.errors import OutputError, one_line
from inspector.files import output_folder, write_bytes, write_text
from inspector.serving.drift import DriftReading
from inspector.serving.look import FrameFindings
from inspector.text import to_json

SCHEMA = 1
PAUSE = 1.0
"""Seconds between two frames that are kept, since neighbors are nearly the same."""

QUALITY = 95
"""Of their JPEG, as Pillow counts, with colors in full resolution."""

_OURS = re.compile(r"frame-\d{8}-\d{6}-\d{3}(?:-\d+)?\.(?:jpg|json)")


class FrameRecorder:
    """Writes frames into a folder, and deletes the oldest of its own when they are too many.

    Args:
        folder: The folder; frames of earlier runs in it count, and go first. No other file is touched.
        limit: Bytes that all of them may have.
        uncertain: Confidence below which a frame is kept, in [0, 1].
        about: What stands in the document of every frame: model and source.

    Attributes:
        kept: Frames that were kept in this run.
        trouble: Why a frame was not kept that should have been; empty where none was.

    Raises:
        OutputError: The folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int, uncertain: float, about: Mapping[str, Any]) -> None:
        self.folder = output_folder(folder)
        self.limit, self.uncertain, self.about = limit, uncertain, about
        self.kept = 0
        self.trouble = ""
        self._ended = False
        self._last = float("-inf")
        found = sorted(path for path in self.folder.iterdir() if _OURS.fullmatch(path.name))
        self._files = deque((path, path.stat().st_size) for path in found)
        self._bytes = sum(size for _, size in self._files)

    def consider(self, found: FrameFindings, drift: DriftReading | None) -> Path | None:
        """Keep a frame if there is a reason to, and if the last one is not too near.

        Args:
            found: What was found on it.
            drift: What it is against the snapshot, where that was measured.

        Returns:
            The picture that was written; None where none was, and `trouble` says why where there was a reason to. Once
            the disk is full, or the folder gone, no more are written.
        """
        why = self.find_reasons(found, drift)
        if not why or self._ended or time.monotonic() - self._last < PAUSE:
            return None
        self._last = time.monotonic()
        try:
            return self._write(found, why, drift)
        except OutputError as error:
            self.trouble, self._ended = str(error), True
        except (OSError, ValueError) as error:  # this frame alone: it is too large for JPEG, or for the limit
            width, height = found.picture.size
            self.trouble = f"a frame of {width} x {height} pixels cannot be kept: {one_line(str(error), 120)}"
        return None

    def find_reasons(self, found: FrameFindings, drift: DriftReading | None) -> list[str]:
        """Say why a frame is worth keeping; nothing where it is not."""
        sure = found.answer.confidence
        why = (
            [f"uncertain: {sure:.3f} is below {self.uncertain:g}"] if sure is not None and sure < self.uncertain else []
        )
        beyond = drift.beyond if drift is not None else ()
        return why + [f"{one.name}: {one.value:.3g} is above {one.limit:.3g}" for one in beyond]

    def _write(self, found: FrameFindings, why: list[str], drift: DriftReading | None) -> Path:
        moment = datetime.fromtimestamp(found.frame.taken, UTC)
        name = f"frame-{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1000:03d}"
        taken = {path.stem for path, _ in self._files}
        stem = next(x for x in (name, *(f"{name}-{n}" for n in range(2, 10_000))) if x not in taken)
        stream = io.BytesIO()
        found.picture.save(stream, "JPEG", quality=QUALITY, subsampling=0)
        document = {
            "schema": SCHEMA,
            "kind": "inspector frame",
            "picture": f"{stem}.jpg",
            "time": moment.isoformat(timespec="milliseconds"),
            "place": found.frame.place,
            "name": found.frame.name,
            "why": why,
            "confidence": found.answer.confidence,
            "answer": found.answer.about,
            "drift": drift.tell() if drift is not None else None,
            **self.about,
        }
        text = to_json(document, indent=1) + "\n"
        wanted = stream.tell() + len(text)
        if wanted > self.limit:
            raise ValueError(f"it takes {wanted / 1e6:.2f} MB, and the limit of all is {self.limit / 1e6:.2f} MB")
        self._make_room(wanted)
        picture = write_bytes(self.folder / f"{stem}.jpg", stream.getvalue())
        self._add(picture, stream.tell())
        # Last, so that a picture with its document is whole.
        self._add(write_text(self.folder / f"{stem}.json", text), len(text))
        self.kept += 1
        return picture

    def _add(self, path: Path, size: int) -> None:
        self._files.append((path, size))
        self._bytes += size

    def _make_room(self, wanted: int) -> None:
        """Delete the oldest, a picture with its document."""
        while self._files and self._bytes + wanted > self.limit:
            stem = self._files[0][0].stem
            while self._files and self._files[0][0].stem == stem:
                path, size = self._files.popleft()
                self._bytes -= size
                with suppress(OSError):
                    path.unlink()

"""A camera of this machine, by Video4Linux."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from inspector.serving.frames import Frame
from inspector.serving.sources.decoding import decode_frames, need_ffmpeg, open_container
from inspector.serving.sources.source import SourceLost

_SECONDS = 10.0
"""Until a camera that gives nothing counts as lost."""


@dataclass(frozen=True)
class CameraSource:
    """The camera ``/dev/videoN``.

    Attributes:
        number: N.
        folder: Where the devices are.
    """

    number: int
    folder: Path = Path("/dev")
    ends: bool = False

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"camera:{self.number}"

    @property
    def device(self) -> Path:
        """The device file."""
        return self.folder / f"video{self.number}"

    def check(self) -> None:
        """Look whether the device is there.

        Raises:
            SourceLost: It is not; those that are there are told.
            MissingExtra: PyAV is not installed.
        """
        need_ffmpeg()
        if self.device.exists():
            return
        numbers = sorted(int(path.name[5:]) for path in self.folder.glob("video*") if path.name[5:].isdigit())
        hint = f"there are: {', '.join(f'camera:{n}' for n in numbers)}" if numbers else "no camera is connected here"
        raise SourceLost(f"there is no {self.device}", hint)

    def frames(self) -> Generator[Frame, None, None]:
        """Give its pictures as they are taken.

        Raises:
            SourceLost: It cannot be opened, was unplugged, or gives nothing for ten seconds.
        """
        with open_container(self.name, str(self.device), format="v4l2", timeout=_SECONDS) as container:
            yield from decode_frames(container, self.name)
        raise SourceLost(f"{self.name} gives no more pictures")

"""The pictures that a call is about, and the walk over them that skips what is broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

from inspector.errors import (
    ClassNotFound,
    ImageError,
    InspectorError,
    LayerNotFound,
    MissingExtra,
    OutputError,
    UsageError,
    wrong_type,
)
from inspector.guard import is_pipe
from inspector.records import record
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.image import ImageSource

T = TypeVar("T")

FATAL = (UsageError, OutputError, LayerNotFound, ClassNotFound, MissingExtra)
"""Errors that the next picture would meet again; any other that a picture causes is that picture's own."""


@record
class Picture:
    """A picture with a name.

    Attributes:
        path: How it is called in results; ``-`` stands for the one on stdin.
        source: What `open_image` takes.
    """

    path: str
    source: ImageSource

    @property
    def name(self) -> str:
        """What it is called in titles."""
        return "the picture on stdin" if self.path == "-" else Path(self.path).name

    @property
    def stem(self) -> str:
        """A name for files made from it."""
        return "stdin" if self.path == "-" else Path(self.path).stem


Pictures: TypeAlias = "ImageSource | Picture | Iterable[ImageSource | Picture]"
"""What is taken for pictures: one, a folder of them, or several of either."""


@record
class Skipped:
    """A picture that could not be used.

    Attributes:
        path: How it is called; empty for an argument that named no picture.
        error: Why.
    """

    path: str
    error: InspectorError


@record
class Done(Generic[T]):
    """A picture and what was made of it."""

    picture: Picture
    result: T


class Results(tuple[T, ...]):
    """What was made of each picture: a tuple.

    Attributes:
        skipped: The pictures that could not be used.
    """

    skipped: tuple[Skipped, ...] = ()

    def _repr_html_(self) -> str:
        shown = [one._repr_html_() for one in self if hasattr(one, "_repr_html_")]
        return "\n".join(shown) or repr(tuple(self))


def find_pictures(images: Pictures) -> Iterator[Picture | ImageError]:
    """Find the pictures that an argument names: files as they are, folders searched.

    Args:
        images: One picture or folder, or several.

    Yields:
        A picture; or, for a folder without any, the ImageError that it is, so that the others still get their turn.

    Raises:
        UsageError: The argument is no picture and holds none.
    """
    from inspector.image import find_images, read_picture

    for number, given in enumerate(_as_list(images), 1):
        if isinstance(given, Picture):
            yield given
        elif not isinstance(given, str | os.PathLike):
            yield Picture(f"image-{number}", given)
        elif os.path.isdir(given):  # noqa: PTH112  a Path of "" would be the current folder
            found = find_images(Path(given))
            yield from (Picture(relative(path), path) for path in found)
            if not found:
                yield ImageError(
                    f"the folder {os.fspath(given)} holds no pictures", "known: JPEG, PNG, WebP, BMP, TIFF"
                )
        elif is_pipe(given):
            # A pipe, as of <(command), can be read only once.
            try:
                yield Picture(os.fspath(given), read_picture(given))
            except ImageError as error:
                yield error
        else:
            yield Picture(relative(Path(given)), Path(given))


def handle_pictures(
    pictures: Iterable[Picture | ImageError],
    handle: Callable[[Picture], T],
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Done[T] | Skipped]:
    """Do something with each picture, and go on where one cannot be used.

    Args:
        pictures: What `find_pictures` gives.
        handle: Called with each picture.
        on_progress: Called after each picture with how many are done, and how many there are.

    Yields:
        The result for a picture, or why there is none.

    Raises:
        InspectorError: One that the next picture would meet again: an option, a layer, a class, a file to write.
    """
    total = 0
    if on_progress is not None:
        pictures = list(pictures)
        total = len(pictures)
    for done, picture in enumerate(pictures, 1):
        step: Done[T] | Skipped
        try:
            if isinstance(picture, ImageError):
                raise picture
            step = Done(picture, handle(picture))
        except FATAL:
            raise
        except InspectorError as error:
            step = Skipped(picture.path if isinstance(picture, Picture) else "", error)
        yield step
        if on_progress is not None:
            on_progress(done, total)


def collect(steps: Iterable[Done[T] | Skipped]) -> Results[T]:
    """The results of a walk together. Raises the error of the first picture where none could be used."""
    done: list[T] = []
    skipped: list[Skipped] = []
    for step in steps:
        if isinstance(step, Skipped):
            skipped.append(step)
        else:
            done.append(step.result)
    if not done:
        raise make_none_error(skipped)
    results = Results(done)
    results.skipped = tuple(skipped)
    return results


def make_none_error(skipped: Iterable[Skipped]) -> InspectorError:
    """The error for pictures of which none could be used."""
    errors = [one.error for one in skipped]
    problem = errors[0] if errors else ImageError("no pictures were given")
    if len(errors) < 2:
        return problem
    verb = "read" if isinstance(problem, ImageError) else "used"
    return type(problem)(f"none of {len(errors)} pictures could be {verb}; the first: {problem}")


def _as_list(images: Pictures) -> Iterable[ImageSource | Picture]:
    # Arrays and PIL images are pictures although they can be walked through; a list of either is several.
    given: object = images
    one = isinstance(given, str | os.PathLike | bytes | bytearray | memoryview | Picture)
    if one or hasattr(given, "__array_interface__") or hasattr(given, "read"):
        return [cast("ImageSource | Picture", given)]
    if not isinstance(given, Iterable):
        raise wrong_type("pictures", given, "give a path, a folder, bytes, a PIL image, an array, or a list of them")
    return cast("Iterable[ImageSource | Picture]", given)

"""Folders of pictures below one folder of results: one for each picture, and a page that leads to all of them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import OutputError, UsageError
from inspector.files import lock_folder, make_plain, make_safe_name, output_folder
from inspector.guard import list_inputs
from inspector.image import ImageSource, digest_image
from inspector.model import Model
from inspector.pages.folder import MAPS, OURS, RECORD, read_record, remove_results, write_record
from inspector.provenance import Provenance

if TYPE_CHECKING:
    from inspector.pages.overview import IndexEntry

_INDEX = '<div class="cards">'
"""Tells a page that leads to pictures from a page of somebody else."""
_PAGE = "index.html"
_NUMBER = re.compile(r"-\d+$")


class PictureFolders:
    """The folders that a run makes, or finds again, below one folder of results.

    A picture keeps its folder: another run with the same picture gets the same one, another picture of the same name
    gets another one, ``frame-2``. Whose a folder is stands in the record in it.

    Args:
        out: The folder of results.

    Raises:
        UsageError: A command reads a file that it would write there.

    Example:
        >>> folders = PictureFolders("inspector-out")
        >>> with folders.claim("cam0/frame.jpg", "frame", "frame.jpg") as folder:  # doctest: +SKIP
        ...     draw_gallery(model, "cam0/frame.jpg", folder)
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out)
        self.done: list[Path] = []
        self._taken: set[str] = set()
        self._sources: dict[str, dict[str, Any]] = {}
        self._listed: dict[str, str] = {}
        self._groups: dict[str, list[str]] = {}
        self._check_inputs()

    def _check_inputs(self) -> None:
        """Raise UsageError, before anything is drawn, where a command reads what it would write."""
        if not os.path.isdir(self.out):  # noqa: PTH112  Path.is_dir raises for a name that is too long
            return
        inside = [p for p in list_inputs() if _is_result(p) and _same_folder(p.parent.parent, self.out)]
        if inside:
            stems = {_fold(make_safe_name(p.stem)) for p in list_inputs()}
            for path in inside:
                if _NUMBER.sub("", _fold(path.parent.name)) in stems or _fold(path.parent.name) in stems:
                    raise UsageError(f"{path} is read, and lies where results go", "give another folder to -o")

    @contextmanager
    def claim(self, source: ImageSource, stem: str, name: str) -> Iterator[Path]:
        """The folder of one picture for the time of the block. One that was made for it goes again when that fails.

        Args:
            source: What `open_image` takes; only a path tells pictures of one name apart.
            stem: What the folder is called after.
            name: How people know the picture.

        Raises:
            ImageError: The picture cannot be read.
            OutputError: The folder cannot be made.
        """
        digest = digest_image(source)
        # Not Path.exists, which raises for a name that is too long.
        missing = [p for p in (self.out, *self.out.parents) if not os.path.lexists(p)]
        output_folder(self.out)
        key = self._key(source)
        with lock_folder(self.out):
            folder, made = self._find(stem, key, digest)
            record = read_record(folder)
            new = not record
            if record.get("picture") not in (None, digest):
                remove_results(folder, record)
                record = {}
            if made or record.get("picture") != digest or record.get("source") != key:
                write_record(folder, {**record, "source": key, "picture": digest, "name": name})
        self._taken.add(_fold(folder.name))
        try:
            yield folder
        except BaseException:
            with suppress(OSError):
                if new and "files" not in read_record(folder) and "maps" not in read_record(folder):
                    (folder / RECORD).unlink()
                # Only what is empty goes: a folder with something in it stays.
                for path in [folder, *missing] if made else ():
                    path.rmdir()
            if not os.path.lexists(folder):
                self._forget(folder)
            raise
        self.done.append(folder)

    def _key(self, source: ImageSource) -> str:
        """What tells pictures apart: where they lie, seen from the results, so that both may be moved together."""
        if not isinstance(source, str | os.PathLike):
            return "-"
        path = Path(source)
        real = Path(os.path.realpath(path.parent)) / path.name
        try:
            return Path(os.path.relpath(real, os.path.realpath(self.out))).as_posix()
        except ValueError:  # another drive
            return real.as_posix()

    def _find(self, stem: str, key: str, digest: str) -> tuple[Path, bool]:
        """(the folder of a picture, whether it was made)."""
        base = make_safe_name(stem)
        for actual in self._list().get(_fold(base), ()):
            taken = _fold(actual) in self._taken
            if self._read(actual).get("source") == key and not taken:
                return self.out / actual, False
        for name in _numbered(base):
            if _fold(name) == _PAGE:  # the place of the page that leads to all pictures
                continue
            found = self._look(name)
            if found is None:
                return self._make(name, key), True
            is_free = _fold(found) not in self._taken and (self.out / found).is_dir()
            if is_free and self._is_free(self._read(found), digest):
                self._sources[found] = {"source": key}
                return self.out / found, False
        raise AssertionError("numbers have no end")

    def _list(self) -> dict[str, list[str]]:
        """Names without their number -> the folders that are called so. What other processes make is met by name."""
        if not self._listed:
            with os.scandir(self.out) as entries:
                for entry in entries:
                    self._add(entry.name)
        return self._groups

    def _add(self, name: str) -> None:
        folded = _fold(name)
        self._listed[folded] = name
        for base in {folded, _NUMBER.sub("", folded)}:
            self._groups.setdefault(base, []).append(name)

    def _read(self, actual: str) -> dict[str, Any]:
        if actual not in self._sources:
            self._sources[actual] = read_record(self.out / actual)
        return self._sources[actual]

    def _is_free(self, record: dict[str, Any], digest: str) -> bool:
        """Whether a folder is nobody's: an older version's, or that of this very picture before it was moved."""
        source = record.get("source")
        if not isinstance(source, str):
            return True
        return source != "-" and record.get("picture") == digest and not os.path.lexists(self.out / source)

    def _look(self, name: str) -> str | None:
        """The folder that has this name where upper and lower case are the same; None where there is none."""
        if _fold(name) not in self._listed and os.path.lexists(self.out / name):  # another process made it
            self._add(name)
        return self._listed.get(_fold(name))

    def _make(self, name: str, key: str) -> Path:
        try:
            (self.out / name).mkdir()
        except UnicodeEncodeError:
            name = make_plain(name)
            output_folder(self.out / name)
        except OSError as error:
            if make_plain(name) == name:
                raise OutputError(
                    f"cannot make the folder {self.out / name}: {error.strerror or error}", "choose another folder"
                ) from error
            # A file system that takes no such letters.
            name = make_plain(name)
            output_folder(self.out / name)
        self._add(name)
        self._sources[name] = {"source": key}
        return self.out / name

    def _forget(self, folder: Path) -> None:
        """A folder that went again may be made for the next picture."""
        self._listed.pop(_fold(folder.name), None)
        for names in self._groups.values():
            names[:] = [name for name in names if name != folder.name]
        self._sources.pop(folder.name, None)
        self._taken.discard(_fold(folder.name))

    def write_index(self, model: Model) -> Path | None:
        """Write the page that leads to every picture that is there, whoever drew it; None where there is only one.

        Somebody else's page of that name stays as it is, which is said.

        Raises:
            OutputError: It cannot be written.
        """
        from inspector.pages.overview import write_index

        page = self.out / _PAGE
        ours = _is_index(page)
        if not self.done or (len(self.done) < 2 and not ours):
            return None
        if not ours and os.path.lexists(page):
            model.warn(
                f"{page} is no page of inspector and was left alone; each picture's folder has a page of its own"
            )
            return None
        with lock_folder(self.out):
            entries, models = _entries(self.out)
            if len(entries) < 2 and len(self.done) < 2:
                return None
            title = model.path.name if models <= {model.path.name} else f"{len(models)} models"
            made_by = Provenance(model.digest, method="activations")
            return write_index(self.out, model=title, entries=entries, provenance=made_by)


def _entries(out: Path) -> tuple[list[IndexEntry], set[str]]:
    """(the pictures whose page is complete, the names of their models)."""
    from inspector.pages.overview import IndexEntry

    found: list[tuple[str, str, str, dict[str, Any]]] = []
    for folder in out.iterdir():
        record = read_record(folder)
        if "index.html" in record.get("files", ()) and (folder / "index.html").is_file():
            source = str(record.get("source", folder.name))
            found.append((source, str(record.get("name", folder.name)), folder.name, record))
    found.sort(key=lambda x: (x[0].casefold(), x[2]))
    names = [name for _, name, _, _ in found]
    entries = []
    for source, name, at, record in found:
        shown = "/".join(Path(source).parts[-2:]) if names.count(name) > 1 and source != "-" else name
        entries.append(IndexEntry(shown, f"{at}/index.html", f"{at}/picture.png", _predictions(record)))
    return entries, {str(record.get("model", "")) for _, _, _, record in found}


def _predictions(record: dict[str, Any]) -> list[tuple[str, float]]:
    try:
        return [(str(label), float(share)) for label, share in record.get("top", ())]
    except (TypeError, ValueError):
        return []


def _is_index(page: Path) -> bool:
    try:
        return _INDEX in page.read_text("utf-8", errors="replace")
    except OSError:
        return False


def _is_result(path: Path) -> bool:
    return bool(OURS.fullmatch(path.name) or MAPS.fullmatch(path.name))


def _same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _numbered(base: str) -> Iterator[str]:
    yield base
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1


def _fold(name: str) -> str:
    """The same for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()


__all__ = ["PictureFolders"]

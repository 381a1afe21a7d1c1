"""Packages that only some commands need, and the one line that says which extra brings them."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from inspector.errors import MissingExtra

DISTRIBUTION = "onnx-inspector"
"""The name on PyPI; `inspector` belongs to another project there. Import and command are called `inspector`."""


def install_command(extra: str) -> str:
    """The command that brings an extra: by folder in a clone, by name where a wheel is installed.

    >>> install_command("torch").startswith("pip install")
    True
    """
    clone = Path(__file__).resolve().parent.parent
    if not (clone / "pyproject.toml").is_file():
        return f'pip install "{DISTRIBUTION}[{extra}]"'
    where = "." if Path.cwd() == clone else str(clone)
    return f'pip install -e "{where}[{extra}]"'


def need(package: str, extra: str, why: str) -> ModuleType:
    """The module `package`, imported now.

    Args:
        package: The name it is imported by.
        extra: The extra of this distribution that brings it.
        why: What needs it, as the beginning of a sentence: ``"gradient ascent needs torch"``.

    Raises:
        MissingExtra: It is not installed or cannot be loaded; with the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        there = error.name is not None and error.name.partition(".")[0] != package.partition(".")[0]
        cause = f"which cannot be loaded ({error})" if there else "which is not installed"
        raise MissingExtra(f"{why}, {cause}", install_command(extra)) from None


def is_installed(package: str) -> bool:
    """Whether `package` can be found, without importing it."""
    return find_spec(package) is not None


_stderr_lock = threading.Lock()


@contextmanager
def hush_stderr() -> Iterator[None]:
    """Without what a library prints on the process's stderr by itself; what is wrong is raised besides."""
    with Path(os.devnull).open("wb") as nothing, _redirect_stderr(nothing.fileno()):
        yield


@contextmanager
def catch_stderr() -> Iterator[list[str]]:
    """As :func:`hush_stderr`; the text is in the list afterwards, for libraries that say there what is wrong."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        try:
            with _redirect_stderr(file.fileno()):
                yield said
        finally:
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))


@contextmanager
def _redirect_stderr(to: int) -> Iterator[None]:
    with _stderr_lock:
        try:
            kept = os.dup(2)
        except OSError:  # it is closed already
            yield
            return
        try:
            os.dup2(to, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def prepare_torch(threads: int | None = None) -> None:
    """Set torch's threads: as many as asked for, and none that spins while another process has the core.

    Args:
        threads: How many; None leaves torch's own choice.

    Raises:
        MissingExtra: torch is not installed.
    """
    if not is_installed("torch"):
        raise MissingExtra("this command needs torch, which is not installed", install_command("torch"))
    # Read when OpenMP is loaded. Spinning threads made an ascent nine times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def import_from_here() -> None:
    """Let factories given as package.module:factory be found where the user stands, as `python -m` does."""
    here = os.getcwd()  # noqa: PTH109  sys.path holds texts
    if here not in sys.path:
        sys.path.append(here)

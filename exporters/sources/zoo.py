"""Libraries of networks: how they are imported, and why a download fails."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from exporters.sources.needs import quiet
from exporters.sources.network import SourceError
from inspector.errors import InspectorError, MissingExtra, one_line
from inspector.extras import install_command


def import_zoo(package: str) -> Any:
    """Import a library of networks.

    Raises:
        MissingExtra: It is not installed or cannot be loaded.
    """
    try:
        with quiet():
            module = importlib.import_module(package)
            if package == "timm":
                importlib.import_module("timm.data")
    except ImportError as error:
        raise MissingExtra(
            f"{package}:NAME needs {package}, which cannot be imported ({describe_cause(error)})",
            install_command("zoo"),
        ) from error
    return module


@contextmanager
def without_retries() -> Iterator[None]:
    """Let the hub's client look into its cache only, where its host has no address: it would try for 50 seconds."""
    from urllib.request import getproxies

    constants: Any = None
    with suppress(ImportError):
        constants = importlib.import_module("huggingface_hub.constants")
    if constants is None or getproxies():
        yield
        return
    before = constants.HF_HUB_OFFLINE
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def explain_load_failure(spec: str, error: Exception) -> InspectorError:
    """Make the error of a network that its library could not make.

    Downloads fail in many ways; the last cause says how.
    """
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None and deeper not in chain:
        chain.append(deeper)
    if any(isinstance(e, OSError) or "hub" in type(e).__name__.lower() or "http" in type(e).__module__ for e in chain):
        offline = any(type(e).__name__ == "OfflineModeIsEnabled" for e in chain)
        reason = "the hub cannot be reached from here" if offline else describe_cause(chain[-1])
        return SourceError(
            f"the weights of {spec} cannot be downloaded: {reason}",
            "fetch them elsewhere and give the file with --weights",
        )
    return SourceError(f"{spec} cannot be made: {describe_cause(error)}")


def describe_cause(error: BaseException) -> str:
    """Return the kind of an error and its message, in one line."""
    text = one_line(str(error), 200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

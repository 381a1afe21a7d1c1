"""torch, or one clear error that says which extra brings it. Whatever makes a model here takes it from this file."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator

from inspector.errors import MissingExtra
from inspector.extras import install_command

try:
    import onnxscript  # noqa: F401 - torch's exporter needs it, and says so only when it is half done
    import torch as torch
    from torch import nn as nn
except ImportError as error:
    raise MissingExtra(
        f"making a model needs torch and onnxscript, and {error.name or 'one of them'} cannot be imported",
        install_command("torch"),
    ) from error

_LOUD = ("torch.onnx", "torch.export", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir", "timm", "huggingface_hub")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Torch's exporter without its prints, logs and warnings: failures raise, and parity proves the rest.

    What a network prints in its forward goes to stderr, since stdout belongs to our own document.
    """
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

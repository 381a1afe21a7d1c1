"""Where torch computes, and how exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from inspector.errors import UsageError


def choose_device(provider: str) -> str:
    """torch's device for a --provider: "cuda" where asked for or automatic and there, else "cpu".

    Args:
        provider: auto, cpu, cuda, ...; those that torch has no device for mean the processor.

    Raises:
        UsageError: CUDA was asked for, and torch finds no device.
    """
    device = find_device(provider)
    if device == "cpu" and provider in ("cuda", "tensorrt"):
        raise UsageError("torch finds no CUDA device here", "leave --provider out, or give cpu")
    return device


def find_device(provider: str) -> str:
    """As :func:`choose_device`, for those who asked onnxruntime for CUDA and not torch: it may be the processor.

    Args:
        provider: auto, cpu, cuda, ...
    """
    return "cuda" if provider in ("auto", "cuda", "tensorrt") and torch.cuda.is_available() else "cpu"


@contextmanager
def compute_exactly() -> Iterator[None]:
    """Inside, float32 on a GPU is float32, and the same convolution gives the same numbers each time.

    By itself torch multiplies the numbers of a convolution there with ten bits of their 23 (TensorFloat-32), which is a
    difference of 1e-3 to onnxruntime, and cuDNN may take algorithms that add in another order at every run. Also a
    decorator. Nothing changes on a processor. The settings belong to the process, and are as before afterwards.
    """
    changed: list[tuple[Any, str, Any]] = []
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    wanted: list[tuple[Any, str, Any]] = [(cudnn, "deterministic", True)]
    if hasattr(cudnn, "conv"):  # from torch 2.9 on; the older name fails where a program has used the newer one
        wanted += [(cudnn.conv, "fp32_precision", "ieee"), (cudnn.rnn, "fp32_precision", "ieee")]
    else:
        wanted += [(cudnn, "allow_tf32", False)]
    try:
        for part, name, value in wanted:
            changed.append((part, name, getattr(part, name)))
            setattr(part, name, value)
        with _multiply_exactly(matmul):
            yield
    finally:
        for part, name, value in changed:
            setattr(part, name, value)


@contextmanager
def _multiply_exactly(matmul: Any) -> Iterator[None]:
    """The same for products of matrices, which are exact already unless the program wished otherwise."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # it has used the newer name, and the two must not be mixed
        newer = matmul.fp32_precision
        matmul.fp32_precision = "ieee"
        try:
            yield
        finally:
            matmul.fp32_precision = newer
        return
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)

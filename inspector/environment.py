"""What is installed here, and what would run where."""

from __future__ import annotations

import platform
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from inspector.errors import MissingExtra
from inspector.extras import install_command
from inspector.runtime import PROVIDERS, choose_providers, count_cores, find_runtimes, has_device, load_runtime

_PACKAGES = (
    ("numpy", "everything"),
    ("onnx", "everything"),
    ("pillow", "everything"),
    ("typer", "the command line"),
    ("onnxruntime", "everything that runs a model: [cpu]"),
    ("onnxruntime-gpu", "the same on a CUDA device: [gpu]"),
    ("torch", "filters, dream, gradients, export, finetune: [torch]"),
    ("onnxscript", "export: [torch]"),
    ("safetensors", "export --weights, finetune: [torch]"),
    ("torchvision", "export torchvision:NAME: [zoo]"),
    ("timm", "export timm:NAME: [zoo]"),
)


def examine(provider: str = "auto", threads: int | None = None) -> dict[str, Any]:
    """Find out what is installed here, and what would run where.

    Args:
        provider: What a command would be given as --provider.
        threads: What a command would be given as --threads.

    Returns:
        The document of `inspector doctor`: python, platform, cores, packages, providers, chosen, works, advice.

    Raises:
        UsageError: That provider cannot be had here.
    """
    packages = [{"name": name, "version": _version(name), "for": purpose} for name, purpose in _PACKAGES]
    advice: list[str] = []
    available: list[str] = []
    chosen: list[str] = []
    try:
        available = load_runtime().get_available_providers()
        chosen = choose_providers(provider)
        names = {v: k for k, v in PROVIDERS.items()}
        on = ", ".join(names.get(c, c) for c in chosen)
        count = threads or count_cores()
        advice.append(f"--provider {provider} runs on: {on} ({count} thread{'s' * (count != 1)})")
        if PROVIDERS["cuda"] in available and not has_device("cuda"):
            advice.append("this onnxruntime has CUDA, but no CUDA device was found")
    except MissingExtra as error:
        advice.append(str(error))
    torch = find_spec("torch") is not None
    if not torch:
        advice.append(
            "torch is not installed: export, finetune, filters, dream and gradients through the twin need it "
            f"({install_command('torch')}); everything else works"
        )
    providers = [
        {"name": name, "built_in": provider in available, "device": provider in available and has_device(name)}
        for name, provider in PROVIDERS.items()
    ]
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": count_cores(),
        "packages": packages,
        "runtimes": find_runtimes(),
        "providers": providers,
        "chosen": chosen,
        "works": {"inspect": bool(chosen), "twin": torch and bool(chosen), "export": torch and bool(chosen)},
        "advice": advice,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

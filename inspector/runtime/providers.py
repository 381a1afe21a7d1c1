"""Which onnxruntime is installed, and which of its providers can be used here."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType

from inspector.errors import MissingExtra, UsageError
from inspector.extras import install_command
from inspector.runtime.distributions import find_runtimes

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Names for --provider."""

_MOST_THREADS = 1024


def load_runtime(again: bool = False) -> ModuleType:
    """Import onnxruntime.

    Args:
        again: It was loaded a moment ago; what is installed is not looked up once more.

    Returns:
        The module.

    Raises:
        MissingExtra: It is not installed, cannot be loaded, or is installed twice.
    """
    installed = [] if again else find_runtimes()
    if len(installed) > 1:
        number = "both" if len(installed) == 2 else "all"
        raise MissingExtra(
            f"{' and '.join(installed)} are {number} installed and overwrite each other",
            f"pip uninstall -y {' '.join(installed)}, then install one: {_name_installs(installed)}",
        )
    try:
        import onnxruntime

        module: ModuleType = onnxruntime
    except ImportError as error:
        why = "is not installed" if error.name == "onnxruntime" and not installed else f"cannot be loaded ({error})"
        raise MissingExtra(
            f"onnxruntime {why}", f"{install_command('cpu')}, or {install_command('gpu')} for a CUDA device"
        ) from None
    return module


def _name_installs(installed: list[str]) -> str:
    """The commands that bring one of these distributions, as a choice."""
    extras = {"onnxruntime": "cpu", "onnxruntime-gpu": "gpu"}
    commands = [install_command(extras[x]) if x in extras else f"pip install {x}" for x in installed]
    return " or ".join(commands)


def has_device(provider: str) -> bool:
    """Whether the device that an accelerator's provider needs is really there; a listed provider proves nothing."""
    if provider == "cpu":
        return True
    if provider in ("cuda", "tensorrt"):
        return _count_cuda_devices() > 0
    if provider in ("rocm", "migraphx"):
        return Path("/dev/kfd").exists()
    if provider == "directml":
        return sys.platform == "win32"
    if provider == "coreml":
        return sys.platform == "darwin"
    return provider == "openvino"


def _open_driver() -> ctypes.CDLL:
    """CUDA's driver, which loads no CUDA library of a package."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def _count_cuda_devices() -> int:
    """Number of CUDA devices by the driver itself."""
    try:
        driver = _open_driver()
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def name_device(provider: str) -> str:
    """The name of the card that a provider runs on, the first one; "" where it is not known.

    Args:
        provider: A key of PROVIDERS.
    """
    if provider not in ("cuda", "tensorrt") or not has_device(provider):
        return ""
    try:
        driver, text = _open_driver(), ctypes.create_string_buffer(256)
        done = driver.cuDeviceGetName(text, len(text), 0) == 0
    except (OSError, AttributeError):
        return ""
    return text.value.decode("utf-8", "replace") if done else ""


def shorten_provider(name: str) -> str:
    """The name of a provider as it is in PROVIDERS, from that or onnxruntime's own, in any case; any other as it is."""
    own = {full.lower(): short for short, full in PROVIDERS.items()}
    short = own.get(name.lower(), name.lower())
    return short if short == "auto" or short in PROVIDERS else name


def choose_providers(name: str = "auto") -> list[str]:
    """Choose the providers of onnxruntime.

    Args:
        name: A key of PROVIDERS, or onnxruntime's own name, in any case; or auto, which takes an accelerator that is
            built in and has a device.

    Returns:
        onnxruntime's own names in order of preference; the CPU always comes last.

    Raises:
        UsageError: The name is unknown, not built in, or its device is not there.
        MissingExtra: onnxruntime is not installed.
    """
    runtime = load_runtime()
    available = runtime.get_available_providers()
    cpu = PROVIDERS["cpu"]
    given, name = name, shorten_provider(name)
    if name == "auto":
        # OpenVINO and TensorRT change numerics and compile for minutes: only when asked for.
        automatic = ("cuda", "migraphx", "rocm", "directml", "coreml")
        found = next((PROVIDERS[p] for p in automatic if PROVIDERS[p] in available and has_device(p)), None)
        return [found, cpu] if found else [cpu]
    if name not in PROVIDERS:
        raise UsageError(f"there is no provider {given!r}", f"known: auto, {', '.join(PROVIDERS)}")
    if PROVIDERS[name] not in available:
        raise UsageError(
            f"this onnxruntime has no provider {name!r}",
            f"it has: {', '.join(k for k, v in PROVIDERS.items() if v in available)}",
        )
    if not has_device(name):
        raise UsageError(f"no device for provider {name!r} was found", "use --provider cpu")
    return [PROVIDERS[name]] if name == "cpu" else [PROVIDERS[name], cpu]


def load_accelerator(runtime: ModuleType, provider: str) -> None:
    """Load what a provider's library needs from the packages that bring it, where the system does not have it.

    onnxruntime finds CUDA and cuDNN of the packages ``nvidia-*`` only where it is told to look, or where torch, which
    brings them, was imported before.

    Args:
        runtime: onnxruntime.
        provider: onnxruntime's own name of it.
    """
    if provider in (PROVIDERS["cuda"], PROVIDERS["tensorrt"]) and hasattr(runtime, "preload_dlls"):
        # It prints what it does not find, which is said where a session is made.
        with redirect_stdout(io.StringIO()), suppress(OSError, RuntimeError):
            runtime.preload_dlls()


def set_options(providers: Sequence[str]) -> list[str | tuple[str, dict[str, str]]]:
    """Providers with their options, as onnxruntime takes them.

    Args:
        providers: onnxruntime's own names, in order of preference.

    Returns:
        The same, and for CUDA that float32 is float32: by itself it multiplies with ten bits (TensorFloat-32) on
        cards from 2020 on, and an inspection would find that instead of what the file computes.
    """
    return [(name, {"use_tf32": "0"}) if name == PROVIDERS["cuda"] else name for name in providers]


def check_threads(name: str, count: int) -> None:
    """Raise UsageError for a number of threads or processes that nobody can mean; `name` is what it is called."""
    if not 1 <= count <= _MOST_THREADS:
        raise UsageError(f"{name} {count} is not between 1 and {_MOST_THREADS}")


def count_cores() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

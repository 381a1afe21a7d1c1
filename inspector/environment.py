"""What is installed here, and what would run where."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from inspector.errors import MissingExtra, one_line
from inspector.extras import install_command
from inspector.runtime import (
    PROVIDERS,
    choose_providers,
    count_cores,
    find_imported,
    find_runtimes,
    has_device,
    load_runtime,
    name_device,
    try_provider,
)

_PACKAGES = (
    ("numpy", "numpy", "everything"),
    ("onnx", "onnx", "everything"),
    ("pillow", "PIL", "everything"),
    ("typer", "", "the command line"),
    ("onnxruntime", "onnxruntime", "everything that runs a model: [cpu]"),
    ("onnxruntime-gpu", "onnxruntime", "the same on a CUDA device: [gpu]"),
    ("torch", "torch", "filters, dream, gradients, export, finetune: [torch]"),
    ("onnxscript", "", "export: [torch]"),
    ("safetensors", "safetensors", "export --weights, finetune: [torch]"),
    ("torchvision", "torchvision", "export torchvision:NAME: [zoo]"),
    ("timm", "", "export timm:NAME: [zoo]"),
)
"""Distribution, the module that is imported to see whether it can be, and what it is for.

Pure Python, which ends no process, is not imported."""

_PATIENCE = 120.0
"""Seconds that all imports together may take."""

_IMPORT = """
import importlib, json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a package prints is no answer
sys.path[:] = json.loads(sys.argv[1])
for name in sys.argv[2:]:
    print(json.dumps([name, None]), file=answers, flush=True)
    try:
        importlib.import_module(name)
        problem = ""
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    print(json.dumps([name, problem]), file=answers, flush=True)
answers.flush()
os._exit(0)
"""


def examine(provider: str = "auto", threads: int | None = None) -> dict[str, Any]:
    """Find out what is installed here, and what would run where.

    What is examined is imported in a process of its own: a package made for another processor ends that one.

    Args:
        provider: What a command would be given as --provider.
        threads: What a command would be given as --threads.

    Returns:
        The document of `inspector doctor`: python, platform, cores, packages, runtimes, runtime, providers, chosen,
        works, advice.

    Raises:
        UsageError: That provider cannot be had here.
    """
    runtimes, imported = find_runtimes(), find_imported()
    packages = _list_packages(runtimes)
    problems = {p["name"]: p["problem"] for p in packages if p["problem"]}
    advice: list[str] = []
    available: list[str] = []
    chosen: list[str] = []
    try:
        _check_runtime(runtimes, problems)
        available = load_runtime().get_available_providers()
        chosen = choose_providers(provider)
        if len(chosen) > 1 and (why := try_provider(chosen[0])):
            advice.append(f"{chosen[0]} cannot be used ({why}); models run on the CPU in its place")
            chosen = chosen[1:]
        advice.append(_say_where(provider, chosen, threads or count_cores()))
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
    advice += [f"{name} cannot be imported: {problem}" for name, problem in problems.items() if name not in runtimes]
    if imported is not None:
        advice.append(f"`import onnxruntime` gives {imported.name} {imported.version}, from {imported.folder}")
    works = torch and "torch" not in problems and bool(chosen)
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": count_cores(),
        "packages": packages,
        "runtimes": runtimes,
        "runtime": {"name": imported.name, "version": imported.version} if imported is not None else None,
        "providers": [
            {"name": name, "built_in": provider in available, "device": provider in available and has_device(name)}
            for name, provider in PROVIDERS.items()
        ],
        "chosen": chosen,
        "works": {"inspect": bool(chosen), "twin": works, "export": works},
        "advice": advice,
    }


def _list_packages(runtimes: Sequence[str]) -> list[dict[str, Any]]:
    """`name`, `version`, `for` and `problem` of each package; a problem is why it cannot be imported."""
    rows = list(_PACKAGES)
    at = 1 + max(i for i, row in enumerate(rows) if row[1] == "onnxruntime")
    known = {row[0] for row in rows}
    rows[at:at] = [(x, "onnxruntime", "the same, by another build") for x in runtimes if x not in known]
    versions = {name: _find_version(name) for name, _, _ in rows}
    modules = dict.fromkeys(module for name, module, _ in rows if module and versions[name] is not None)
    problems = find_problems(tuple(modules), tuple(sys.path))
    return [
        {
            "name": name,
            "version": versions[name],
            "for": purpose,
            "problem": problems.get(module) if versions[name] is not None else None,
        }
        for name, module, purpose in rows
    ]


def _say_where(asked: str, chosen: Sequence[str], threads: int) -> str:
    on = ", ".join(_name_provider(provider) for provider in chosen)
    return f"--provider {asked} runs on: {on} ({threads} thread{'s' * (threads != 1)})"


def _name_provider(provider: str) -> str:
    """Its name for --provider, and the card that it runs on where that is known."""
    name = {v: k for k, v in PROVIDERS.items()}.get(provider, provider)
    card = name_device(name)
    return f"{name} ({card})" if card else name


def _check_runtime(runtimes: Sequence[str], problems: Mapping[str, str]) -> None:
    """Raises MissingExtra for a runtime that ends the process that imports it, before this one does."""
    for name in runtimes:
        if name in problems and len(runtimes) == 1:
            raise MissingExtra(f"{name} cannot be imported: {problems[name]}", f"pip install --force-reinstall {name}")


@lru_cache(maxsize=4)
def find_problems(modules: tuple[str, ...], path: tuple[str, ...]) -> Mapping[str, str]:
    """Import modules in a process of its own, one after the other, and say what went wrong.

    Args:
        modules: Their names.
        path: Where they are looked for: ``sys.path``.

    Returns:
        Why a module cannot be imported, for those that cannot: its error, or the signal that ended the process.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting and sys.executable:
        done, begun, ending = _import_in_child(waiting, path)
        found |= {name: problem for name, problem in done.items() if problem}
        if begun is not None:
            found[begun] = ending
        left = [name for name in waiting if name not in done and name != begun]
        if len(left) == len(waiting):  # a Python that does not even start says nothing about the packages
            break
        waiting = left
    return found


def _import_in_child(modules: Sequence[str], path: Sequence[str]) -> tuple[dict[str, str], str | None, str]:
    """(what was imported and its problem or "", the module that ended the process or None, how)."""
    command = [sys.executable, "-c", _IMPORT, json.dumps(path), *modules]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_PATIENCE
        )
        out, ending = child.stdout, _name_ending(child.returncode)
    except subprocess.TimeoutExpired as error:
        out, ending = error.stdout or b"", f"no answer within {_PATIENCE:.0f} seconds"
    done: dict[str, str] = {}
    begun = None
    for line in out.decode("utf-8", "replace").splitlines():
        name, problem = json.loads(line)
        begun = name if problem is None else None
        if problem is not None:
            done[name] = one_line(problem, 200)
    return done, begun, ending


def _name_ending(code: int) -> str:
    if code >= 0:
        return f"it ends the process with exit code {code}"
    name = signal.strsignal(-code) or "a signal"
    hint = "; this build is for another processor" if -code == signal.SIGILL else ""
    return f"it ends the process: {name.lower()} (signal {-code}){hint}"


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

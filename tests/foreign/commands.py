"""Every command on files, in a process that may die, and what came of each: ok, refused in one line, or a fault.

``python -m tests.foreign.commands FOLDER`` reads what to do from stdin, ``{"FILE": ["COMMAND", ...], ...}``, and prints
one line of JSON before and one after each command, so that whoever reads along knows which command a death belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 600.0  # for one command; far above what any takes on a busy machine
OK, REFUSED, FAULT, SKIPPED = "ok", "refused", "fault", "-"


@dataclass(frozen=True)
class Outcome:
    """What came of one command on one file.

    state: `ok`, `refused` (one clear line), `fault`, or `-` where there is nothing that it could be asked.
    text: what it gave in a few words, its line, or what is wrong.
    """

    command: str
    state: str
    text: str


# --- what is asked ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where one file is tried: pictures to look at, a folder to write into, a layer to ask for."""

    model: str
    folder: Path
    photo: str
    pictures: str
    classes: str
    layer: str = ""

    def out(self, name: str) -> str:
        return str(self.folder / name)


def _layers(p: Place) -> list[str]:
    return ["layers", p.model]


def _predict(p: Place) -> list[str]:
    return ["predict", p.model, p.photo]


def _activations(p: Place) -> list[str]:
    return ["activations", p.model, p.photo, "-o", p.out("activations")]


def _cam(p: Place) -> list[str]:
    return ["cam", p.model, p.photo, "-o", p.out("cam")]


def _filters(p: Place) -> list[str]:
    return ["filters", p.model, "--layer", p.layer, "--channels", "0-1", "--steps", "2", "-o", p.out("filters")]


def _dream(p: Place) -> list[str]:
    return ["dream", p.model, p.photo, "--layer", p.layer, "--octaves", "1", "--steps", "1", "-o", p.out("dream.png")]


def _quantize(p: Place, to: str) -> list[str]:
    more = ["--calibrate", p.pictures, "--pictures", "2", "--to", to]
    return ["quantize", p.model, "-o", p.out(f"{to}.onnx"), *more]


def _int8(p: Place) -> list[str]:
    return _quantize(p, "int8")


def _fp16(p: Place) -> list[str]:
    return _quantize(p, "fp16")


def _annotate(p: Place) -> list[str]:
    return ["annotate", p.model, "-o", p.out("annotated.onnx"), "--preprocess", "unit"]


def _audit(p: Place) -> list[str]:
    return ["audit", p.model, "--data", p.pictures]


def _report(p: Place) -> list[str]:
    return ["report", p.model, p.photo, "-o", p.out("report.html")]


def _finetune(p: Place) -> list[str]:
    return ["finetune", p.classes, "--base", p.model, "--dry-run", "-o", p.out("run")]


COMMANDS: dict[str, Callable[[Place], list[str]]] = {
    "layers": _layers, "predict": _predict, "activations": _activations, "cam": _cam, "filters": _filters,
    "dream": _dream, "quantize int8": _int8, "quantize fp16": _fp16, "annotate": _annotate, "audit": _audit,
    "report": _report, "finetune": _finetune,
}  # fmt: skip
WITH_TORCH = ("filters", "dream")


def make_place(model: Path, folder: Path) -> Place:
    """Pictures for all commands: the photograph as it is, turned and cut, alone and as two classes."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(ROOT / "docs" / "chelsea.jpg") as image:
        photo = image.convert("RGB").resize((150, 100))
    pictures, classes = folder / "pictures", folder / "classes"
    if not classes.exists():
        pictures.mkdir()
        photo.save(folder / "photo.png")
        photo.save(pictures / "a.png")
        photo.rotate(180).save(pictures / "b.png")
        for k, name in enumerate(("cat", "tail")):
            (classes / name).mkdir(parents=True)
            for i in range(6):
                box = (60 * k + 5 * i, 4 * i, 60 * k + 5 * i + 60, 4 * i + 60)
                photo.crop(box).rotate(90 * i).save(classes / name / f"{i}.png")
    return Place(str(model), folder, str(folder / "photo.png"), str(pictures), str(classes))


# --- one command ------------------------------------------------------------------------------------------------------


@contextmanager
def _streams(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Stdout and stderr of this process, of the runtime's C++ too, into two files."""
    paths = folder / "stdout", folder / "stderr"
    kept = os.dup(1), os.dup(2), sys.stdout, sys.stderr
    with paths[0].open("w", encoding="utf-8") as out, paths[1].open("w", encoding="utf-8") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = out, err
        try:
            yield paths
        finally:
            sys.stdout, sys.stderr = kept[2], kept[3]
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])


def run_command(name: str, arguments: Sequence[str], folder: Path) -> tuple[Outcome, dict[str, Any]]:
    """The outcome of one command line in this process, and its document."""
    from inspector.cli.app import run

    os.environ["INSPECTOR_DEBUG"] = "1"
    code, crash = -1, ""
    with _streams(folder) as (out, err):
        try:
            code = run([*arguments, "--json"])
        except BaseException as error:
            crash = describe_crash(error)
    if crash:
        return Outcome(name, FAULT, crash), {}
    text, noise = out.read_text("utf-8"), err.read_text("utf-8")
    if match := re.search(r"Traceback|\x1b\[|\w*Warning\b.*", noise):
        return Outcome(name, FAULT, f"on stderr: {match[0][:200]}"), {}
    try:
        document = json.loads(text)
    except ValueError:
        return Outcome(name, FAULT, f"exit {code} and no JSON document: {text[:100]!r}"), {}
    return judge(name, code, document), document


def describe_crash(error: BaseException) -> str:
    """The exception in one line, with the last place in the package that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/inspector/" in f.filename or "/exporters/" in f.filename]
    where = f" at {'/'.join(Path(ours[-1].filename).parts[-3:])}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"


def judge(name: str, code: int, document: dict[str, Any]) -> Outcome:
    """What a command came to by its exit code and its document."""
    error = document.get("error")
    if broken := [c for c in document.get("checks", ()) if c["status"] == "error"]:
        return Outcome(name, FAULT, f"{broken[0]['id']} broke: {broken[0]['message'][:300]}")
    if error is None:
        good = code == 0 or (code == 1 and name == "audit")
        return Outcome(name, OK if good else FAULT, _summary(name, document) if good else f"exit {code}, no error")
    message = f"{error['message']}" + (f"; {error['hint']}" if error["hint"] else "")
    if code != 2:
        return Outcome(name, FAULT, f"exit {code} with an error: {message}")
    # A hidden temporary file in it: what the command made itself is broken, and the user is told of nothing they know.
    if "\n" in message or "internal error" in message or ".part" in message or not message.strip():
        return Outcome(name, FAULT, f"unclear: {message[:300]!r}")
    return Outcome(name, REFUSED, message)


def _summary(name: str, document: dict[str, Any]) -> str:
    """What a command gave, in the words of the table; nothing that depends on the machine."""
    if name == "layers":
        return f"{len(document['layers'])} layers"
    if name == "predict":
        image = document["images"][0]
        if image.get("boxes") is not None:
            return "boxes"
        if image.get("segments") is not None:
            return "segments"
        return "classes" if image.get("top") else "no classes"
    if name == "activations":
        return f"{len(document['images'][0]['layers'])} layers"
    if name == "cam":
        return "a map" if any(not m["empty"] for m in document["images"][0]["maps"]) else "empty"
    if name == "audit":
        failed = [c["id"] for c in document["checks"] if c["status"] == "fail"]
        return "finds something" if failed else "passes"
    return "written" if name != "finetune" else "a plan"


# --- the process ------------------------------------------------------------------------------------------------------


def choose_layer(document: dict[str, Any]) -> str:
    """A convolution in the middle, else any layer of maps, else any layer."""
    layers = document.get("layers") or []
    for wanted in (
        [x for x in layers if x["kind"] == "conv"],
        [x for x in layers if x["shape"] and len(x["shape"]) == 4],
        layers,
    ):
        if wanted:
            return str(wanted[len(wanted) // 2]["name"])
    return ""


def try_here(model: Path, folder: Path, commands: Sequence[str], say: Callable[..., None]) -> None:
    """All commands on one file in this process; `say` is told the beginning and the end of each."""
    from tests.foreign.compared import COMPARISONS

    place = make_place(model, folder)
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    try:
        from inspector import list_layers

        found = [{"name": x.name, "kind": x.kind, "shape": x.shape} for x in list_layers(model)]
        place = replace(place, layer=choose_layer({"layers": found}))
    except Exception:  # `layers` itself tells
        pass
    for name in commands:
        say(begin=name, model=str(model))
        if name == "die":  # for the test of what is done then
            os.kill(os.getpid(), signal.SIGKILL)
        if name in COMPARISONS:
            outcome = COMPARISONS[name](place)
        elif name in WITH_TORCH and not place.layer:
            outcome = Outcome(name, SKIPPED, "no layers")
        else:
            outcome, _ = run_command(name, COMMANDS[name](place), place.folder)
        if outcome.state == OK and hashlib.sha256(model.read_bytes()).hexdigest() != before:
            outcome = Outcome(name, FAULT, "the model was changed")
        say(end=asdict(outcome), model=str(model))


def try_files(
    models: Sequence[Path], commands: Sequence[str], seconds: float = SECONDS
) -> Iterator[tuple[Path, list[Outcome]]]:
    """The outcome of each command on each file, in a child process: one that dies is followed by another."""
    left = {str(model): list(commands) for model in models}
    found: dict[str, list[Outcome]] = {str(model): [] for model in models}
    waiting = list(models)
    while waiting:
        with tempfile.TemporaryDirectory() as folder, _Child(folder, left, seconds) as child:
            under_way = ("", "")
            for message in child:
                name, under_way = message["model"], (message["model"], message.get("begin", ""))
                if "end" in message:
                    outcome = Outcome(**message["end"])
                    found[name].append(outcome)
                    left[name].remove(outcome.command)
                    while waiting and not left[str(waiting[0])]:
                        done = waiting.pop(0)
                        del left[str(done)]
                        yield done, found[str(done)]
        if waiting:
            name, command = str(waiting[0]), under_way[1] or left[str(waiting[0])][0]
            found[name].append(Outcome(command, FAULT, f"the process ended with {child.code}: {child.tail}"))
            left[name].remove(command)
            if not left[name]:
                yield waiting.pop(0), found[name]
                del left[name]


class _Child:
    """The process, its messages, and how it ended. It is killed where a command takes too long."""

    def __init__(self, folder: str, jobs: dict[str, list[str]], seconds: float) -> None:
        self.seconds, self.code, self.tail = seconds, 0, ""
        self.err = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.foreign.commands", folder], cwd=ROOT, text=True, errors="replace",
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err,
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(jobs))
        self.process.stdin.close()

    def __enter__(self) -> _Child:
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        while True:
            killer = threading.Timer(self.seconds, self.process.kill)
            killer.start()
            line = self.process.stdout.readline()
            killer.cancel()
            if not line:
                return
            yield json.loads(line)

    def __exit__(self, *failure: object) -> None:
        if failure[0] is not None:
            self.process.kill()
        self.code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.err.seek(0)
        self.tail = " ".join(self.err.read().split())[-300:]
        self.err.close()


def main(folder: str, protocol: TextIO) -> None:
    def say(**what: Any) -> None:
        print(json.dumps(what), file=protocol, flush=True)

    for number, (model, commands) in enumerate(json.load(sys.stdin).items()):
        place = Path(folder) / str(number)
        try_here(Path(model), place, commands, say)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    # The protocol keeps the stream; what anything else prints goes where it can be seen.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.argv[1], stream)

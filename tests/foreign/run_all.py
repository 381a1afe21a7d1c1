"""Every command on every foreign file that can be made here, and the table of it in docs/foreign-files.md.

    python -m tests.foreign.run_all FOLDER [--write] [--believe] [--only NAME...]

The files are made in FOLDER, which keeps them, and what came of each: a file is tried again when something in
`inspector` or `exporters` has changed, unless --believe is given. Exit 1 if there was a fault. --write writes the page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.foreign.commands import COMMANDS, FAULT, OK, REFUSED, ROOT, Outcome, try_files
from tests.foreign.compared import COMPARISONS
from tests.foreign.make_files import Foreign, NotInstalled, list_files

ALL = (*COMMANDS, *COMPARISONS)
PAGE = ROOT / "docs" / "foreign-files.md"


def code_digest() -> str:
    """Digest of the package as it stands: what was found with another is not believed."""
    found = hashlib.sha256()
    for path in sorted(p for name in ("inspector", "exporters") for p in (ROOT / name).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def try_all(
    files: Sequence[Foreign], folder: Path, commands: Sequence[str] = ALL, believe: bool = False
) -> Iterator[tuple[Foreign, list[Outcome]]]:
    """The outcomes of all files that can be made here, those remembered first."""
    digest, kept = code_digest(), folder / "outcomes.jsonl"
    lines = kept.read_text("utf-8").splitlines() if kept.exists() else []
    entries = (d for d in map(json.loads, lines) if d["commands"] == [*commands])
    known = {d["name"]: d for d in entries if believe or d["code"] == digest}
    wanted: dict[Path, Foreign] = {}
    for file in files:
        if file.name in known:
            yield file, [Outcome(**o) for o in known[file.name]["outcomes"]]
            continue
        try:
            wanted[file.write(folder)] = file
        except NotInstalled as error:
            print(f"{file.name} cannot be made: {error} is not installed", file=sys.stderr)
    for path, outcomes in try_files(list(wanted), commands):
        entry = {"name": wanted[path].name, "code": digest, "commands": [*commands],
                 "outcomes": [asdict(o) for o in outcomes]}  # fmt: skip
        with kept.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        yield wanted[path], outcomes


# --- the page ---------------------------------------------------------------------------------------------------------

INTRO = """# Foreign files

What each command gives on files of other exporters: written by `python -m tests.foreign.run_all FOLDER --write`, which
makes the files, mostly small networks with random weights, or finds them in installed packages (the extra `foreign`). A
number in brackets is the reason below the table why a command did not answer: it ended with exit code 2 and this line.

Two columns are comparisons with onnxruntime alone: *values*, all layers against the same tensors of the whole graph;
*probabilities*, what is printed for the classes against the outputs of the file.
"""


def write_page(found: dict[str, tuple[Foreign, list[Outcome]]]) -> str:
    """The whole page, the same for the same outcomes."""
    reasons: dict[str, int] = {}
    rows = []
    for file, outcomes in found.values():
        by_command = {o.command: o for o in outcomes}
        cells = [_cell(by_command[name], reasons) for name in ALL]
        rows.append(f"| `{file.name}` | {file.by} | {' | '.join(cells)} |")
    head = ["file", "written by", *ALL]
    sums = sum(o.state == OK for _, outcomes in found.values() for o in outcomes)
    refused = sum(o.state == REFUSED for _, outcomes in found.values() for o in outcomes)
    faults = sum(o.state == FAULT for _, outcomes in found.values() for o in outcomes)
    table = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *rows]
    listed = [f"{number}. {text}" for text, number in reasons.items()]
    counts = f"{len(found)} files: {sums} answers, {refused} refusals, {faults} faults."
    return "\n".join([INTRO, counts, "", *table, "", "## Why a command did not answer", "", *listed, ""])


def _cell(outcome: Outcome, reasons: dict[str, int]) -> str:
    if outcome.state == OK:
        return {"written": "yes", "a map": "yes", "equal": "equal"}.get(outcome.text, outcome.text)
    if outcome.state == FAULT:
        return f"FAULT: {plain(outcome.text)}"
    number = reasons.setdefault(plain(outcome.text), len(reasons) + 1)
    return f"({number})"


def plain(text: str) -> str:
    """A line without what differs from file to file: paths, names, lists of outputs."""
    text = re.sub(r"\S*/([\w.-]+)\.onnx", "FILE", text)
    text = re.sub(r"\(its outputs?: .*?\)", "(its outputs: ...)", text)
    text = re.sub(r"as in \S+", "as in NAME:0", text)
    text = re.sub(r"(has|of) \d+ inputs: .*?\)(, .*?\))*", r"\1 several inputs", text)
    text = re.sub(r"\S+/(classes|pictures|photo\.png)", r"\1", text)
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--believe", action="store_true")
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    files = list_files()
    chosen = [files[name] for name in given.only or files]
    found, faults = {}, 0
    for file, outcomes in try_all(chosen, given.folder, believe=given.believe):
        found[file.name] = (file, outcomes)
        for outcome in outcomes:
            if outcome.state != OK:
                print(f"{file.name} | {outcome.command} | {outcome.state} | {outcome.text[:400]}", flush=True)
            faults += outcome.state == FAULT
        print(f"{len(found)}/{len(chosen)} {file.name}: {sum(o.state == OK for o in outcomes)} ok", flush=True)
    if given.write:
        ordered = {name: found[name] for name in files if name in found}
        PAGE.write_text(write_page(ordered), encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

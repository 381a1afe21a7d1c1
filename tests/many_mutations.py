"""Tens of thousands of damaged models and pictures, once by hand, in steps that can be stopped and gone on with.

    nice -n 19 python -m tests.many_mutations --count 20000 --seed 1 --state mutations-1.jsonl

Eleven of twenty are models that are opened and run, one is a model given to one command, eight are pictures. What has
been done stands in the state file, one line for each step; the same command goes on behind it, and with everything
done it prints the sums. Exit 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.test_mutations import feed

STEP = 100
SHARES = {"images": 8, "models": 11, "commands": 1}


def list_steps(count: int) -> list[tuple[str, int, int]]:
    """(kind, first, behind the last) of each step."""
    steps = []
    for kind, share in SHARES.items():
        stop = count * share // sum(SHARES.values())
        steps += [(kind, start, min(start + STEP, stop)) for start in range(0, stop, STEP)]
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, default=Path("mutations.jsonl"))
    given = parser.parse_args()
    lines = given.state.read_text("utf-8").splitlines() if given.state.exists() else []
    done = {(d["seed"], d["kind"], d["start"], d["stop"]): d for d in map(json.loads, lines)}
    steps = list_steps(given.count)
    print(f"{sum(stop - start for _, start, stop in steps)} inputs in {len(steps)} steps, {len(done)} of them done")
    for at, (kind, start, stop) in enumerate(steps):
        key = (given.seed, kind, start, stop)
        if key in done:
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            wrong, outcomes, memory = feed(kind, Path(folder), start, stop, given.seed)
        step = {"seed": given.seed, "kind": kind, "start": start, "stop": stop, "outcomes": outcomes, "wrong": wrong}
        done[key] = step
        with given.state.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(step) + "\n")
        print(f"{at + 1}/{len(steps)} {kind} {start}-{stop}: {len(wrong)} wrong, {time.monotonic() - begin:.0f} s, "
              f"{memory // 1000} MB", flush=True)  # fmt: skip
        for text in wrong:
            print(f"    {text[:600]}", flush=True)
    sums: Counter[str] = Counter()
    for step in done.values():
        for outcome, number in step["outcomes"].items():
            sums[f"{step['kind']}, {outcome.split(' ')[0]}"] += number
    faults = sum(len(step["wrong"]) for step in done.values())
    print(f"{sums.total()} inputs of seed {given.seed}: {dict(sorted(sums.items()))}; {faults} wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""Fine-tuning on stored activations against the straightforward loop, both in this process, one after the other.

    python tests/benchmarks/bench_finetune.py [--train 160] [--test 480] [--head-epochs 20] [--joint-epochs 10]

The straightforward loop is written out here: torch, the same network with the same frozen layers, the same pictures,
augmentations, batches, epochs, optimiser and schedule, but every picture is opened, prepared and sent through the whole
network in every epoch. Needs elpv-dataset (see bench_elpv.py). Limits: at least 4 times less time, cache included, and
an accuracy on the test pictures within one point.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from bench_elpv import write_split
from measure import DEFAULT_MODEL, report

from exporters import finetuning
from exporters.finetuning.metrics import is_better, measure
from exporters.finetuning.result import FineTuneResult
from exporters.finetuning.train import draw_batches, schedule_rate, weigh_classes
from exporters.planning.augment import augment_image
from exporters.planning.dataset import Sample, read_dataset
from exporters.planning.options import FineTuneOptions
from inspector import open_model
from inspector.image import open_image
from inspector.model import Model
from inspector.twin import build_twin


class Straightforward:
    """The loop that everybody writes first."""

    def __init__(self, start: Model, result: FineTuneResult, options: FineTuneOptions) -> None:
        self.model, self.options = start, options
        self.dataset = read_dataset(result.run.parent / "part.csv", val=options.val, seed=options.seed)
        assert start.classifier is not None
        self.scores_name = start.classifier.scores
        self.twin = build_twin(start.graph, [self.scores_name], trainable=True).to(memory_format=torch.channels_last)
        self.rates = {
            name: max(float(np.sqrt(np.square(start.graph.weight(name)).mean())), 1e-3)
            * (1.0 if start.graph.weight(name).ndim > 1 else 0.1)
            for layer in result.plan.layers
            for name in layer.weights
        }
        self.layers = [x for x in result.plan.layers if x.joint is not None or x.head is not None]

    def pictures(self, samples: list[Sample], versions: list[int]) -> torch.Tensor:
        options, tensors = self.options, []
        for sample, version in zip(samples, versions, strict=True):
            image = augment_image(
                open_image(sample.path), sample.digest, version, options.augment, options.augment_seed
            )
            tensors.append(self.model.preprocess.tensor(image))
        return torch.from_numpy(np.concatenate(tensors)).contiguous(memory_format=torch.channels_last)

    def scores(self, samples: list[Sample]) -> np.ndarray:
        with torch.no_grad():
            parts = [
                self.twin(self.pictures(samples[k : k + 64], [0] * len(samples[k : k + 64])))[self.scores_name]
                for k in range(0, len(samples), 64)
            ]
        return torch.cat(parts).numpy()

    def run(self) -> None:
        options, train = self.options, list(self.dataset.train)
        labels = np.array([s.label for s in train])
        weight = torch.from_numpy(weigh_classes(labels, len(self.dataset.classes)))
        own = dict(self.twin.named_parameters())
        best, kept = None, {}
        for phase, (name, epochs, peak) in enumerate(
            (("head", options.head_epochs, options.head_rate), ("joint", options.joint_epochs, options.joint_rate))
        ):
            groups = []
            for parameter in own.values():
                parameter.requires_grad_(False)
            if kept:
                self.twin.load_state_dict(kept)
            for layer in self.layers:
                rate = layer.head if name == "head" else layer.joint
                for weights in layer.weights if rate is not None else ():
                    key = self.twin.keys[weights]
                    size = self.rates[weights] if name == "joint" else 1.0
                    own[key].requires_grad_(True)
                    decay = options.weight_decay if own[key].ndim > 1 else 0.0
                    groups.append({"params": [own[key]], "share": rate / peak * size, "weight_decay": decay})
            optimiser = torch.optim.AdamW(groups, lr=peak)
            steps = -(-len(train) // options.batch)
            for epoch in range(epochs):
                batches = draw_batches(labels, options.versions, len(self.dataset.classes), options, phase, epoch)
                for step, (index, version) in enumerate(batches):
                    for group in optimiser.param_groups:
                        group["lr"] = (
                            peak * group["share"] * schedule_rate(options.schedule, (epoch + step / steps) / epochs)
                        )
                    optimiser.zero_grad()
                    scores = self.twin(self.pictures([train[i] for i in index], list(map(int, version))))
                    loss = torch.nn.functional.cross_entropy(
                        scores[self.scores_name], torch.from_numpy(labels[index]), weight=weight,
                        label_smoothing=options.label_smoothing,
                    )  # fmt: skip
                    loss.backward()
                    optimiser.step()
                val = list(self.dataset.val)
                found = measure(self.scores(val), np.array([s.label for s in val])).to_json()
                if is_better(found, best, options.select):
                    best, kept = found, {k: v.clone() for k, v in self.twin.state_dict().items()}
        self.twin.load_state_dict(kept)


def part(folder: Path, train: int, test: int) -> list[tuple[Path, str]]:
    """Writes part.csv of `train` training cells, and gives `test` cells of the held-out quarter."""
    write_split(folder / "elpv.csv")
    with (folder / "elpv.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[k] for k in order]
    chosen = [r for r in rows if r["split"] == "train"][:train]
    (folder / "part.csv").write_text("\n".join(["path,label", *(f"{r['path']},{r['label']}" for r in chosen)]))
    return [(Path(r["path"]), r["label"]) for r in rows if r["split"] == "test"][:test]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("--train", 160), ("--test", 480), ("--head-epochs", 20), ("--joint-epochs", 10)):
        parser.add_argument(name, type=int, default=value)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    test = part(folder, given.train, given.test)
    settings = {
        "head_epochs": given.head_epochs, "joint_epochs": given.joint_epochs, "augment": ("hflip", "vflip"),
        "dropout": 0.0, "patience": 10_000, "select": "accuracy",
    }  # fmt: skip
    start, used = time.perf_counter(), time.process_time()
    result = finetuning.finetune(folder / "part.csv", DEFAULT_MODEL, folder / "run", cache=folder / "cache", **settings)
    ours, our_cpu = time.perf_counter() - start, time.process_time() - used
    loop = Straightforward(open_model(result.run / "base.onnx"), result, FineTuneOptions.from_json(result.plan.options))
    start, used = time.perf_counter(), time.process_time()
    loop.run()
    theirs, their_cpu = time.perf_counter() - start, time.process_time() - used

    labels = np.array([loop.dataset.classes.index(label) for _, label in test])
    samples = [Sample(path, path.name, 0, "") for path, _ in test]
    model = open_model(result.model)
    our_scores = np.concatenate([model.scores(model.tensor(s.path)) for s in samples])
    accuracies = [100 * measure(s, labels).accuracy for s in (our_scores, loop.scores(samples))]
    print(f"seconds: {ours:.1f} with the cache computed in it ({dict(result.seconds)}), {theirs:.1f} straightforward")
    print(f"processor seconds: {our_cpu:.1f}, {their_cpu:.1f} straightforward, {their_cpu / our_cpu:.2f} times as many")
    print(f"accuracy on {len(test)} test pictures: {accuracies[0]:.2f} %, {accuracies[1]:.2f} % straightforward")
    good = report("time of the straightforward loop over ours", theirs / ours, 4, at_least=True)
    good &= report("difference of the accuracies", abs(accuracies[0] - accuracies[1]), 1, " points")
    shutil.rmtree(folder)
    sys.exit(not good)


if __name__ == "__main__":
    main()

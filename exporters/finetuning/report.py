"""What a run leaves for people: figures per epoch, curves, the confusion matrix, the worst mistakes with their CAMs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from exporters.finetuning.metrics import Metrics
from exporters.finetuning.train import TrainingState
from exporters.planning.dataset import Dataset, Sample
from exporters.planning.options import FineTuneOptions
from inspector.cam import prepare
from inspector.errors import InspectorError, MissingExtra
from inspector.extras import install_command
from inspector.files import write_text
from inspector.image import open_image
from inspector.image.poses import describe_mean
from inspector.model import Model
from inspector.model.probabilities import ClassRows, order_classes
from inspector.provenance import Provenance
from inspector.render.cam import draw_overlay
from inspector.render.confusion import draw_confusion
from inspector.render.curves import Curve, Panel, draw_curves
from inspector.render.figure import fit_size, resize_picture
from inspector.render.png import save_png
from inspector.render.sheet import draw_sheet
from inspector.render.text import format_percent

WORST = 24


@dataclass(frozen=True)
class Mistake:
    """A picture that the model takes for another class.

    Attributes:
        probability: That it gives to its answer, in [0, 1].
    """

    sample: Sample
    answer: int
    probability: float


class Reporter:
    """Keeps the run folder's figures up to date."""

    def __init__(
        self, folder: Path, options: FineTuneOptions, dataset: Dataset, tensorboard: bool, note: Callable[[str], None]
    ) -> None:
        self.folder, self.options, self.dataset, self.note = folder, options, dataset, note
        self.board = import_summary_writer()(str(folder / "tensorboard")) if tensorboard else None
        self.written = 0

    def epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
        """metrics.jsonl as the history has it: a run that was killed and went on has every epoch once."""
        lines = [json.dumps(entry) for entry in history]
        write_text(self.folder / "metrics.jsonl", "".join(f"{line}\n" for line in lines))
        if self.board is not None:
            for number, entry in enumerate(history[self.written :], self.written):
                for key in ("train_loss", "loss", "accuracy", "balanced_accuracy", "rate"):
                    self.board.add_scalar(f"{entry['phase']}/{key}", entry[key], number)
            self.board.flush()
        self.written = len(history)

    def finish(
        self, model: Model, state: TrainingState, samples: Sequence[Sample], scores: ClassRows, figures: Metrics
    ) -> None:
        """curves.png, confusion.png, mistakes.json, worst.png.

        Args:
            model: The model that was made.
            state: Where the run ended.
            samples: What model.onnx is judged on, the test pictures or those of the validation.
            scores: What the model says of them.
            figures: What it measures.
        """
        dataset, confusion = self.dataset, figures.confusion
        where = "test" if dataset.test else "validation"
        over = describe_mean(self.options.poses) if dataset.test else ""
        made_by = Provenance(model.digest, method="fine-tuning", seed=self.options.seed).png_info()
        self._curves(state, made_by)
        figure = draw_confusion(
            confusion,
            dataset.classes,
            title=f"Answers on {len(samples)} {where} pictures{over}",
            subtitle=_share(confusion),
        )
        save_png(figure, self.folder / "confusion.png", made_by)
        mistakes = find_mistakes(model, scores, samples)
        write_text(
            self.folder / "mistakes.json",
            json.dumps(
                [
                    {"path": m.sample.name, "class": dataset.classes[m.sample.label],
                     "answer": dataset.classes[m.answer], "probability": round(m.probability, 6)}
                    for m in mistakes
                ],
                indent=1, ensure_ascii=False,
            ) + "\n",
        )  # fmt: skip
        if mistakes:
            shown = min(WORST, len(mistakes))
            title = f"The {shown} most confident of {len(mistakes)} mistakes on {len(samples)} {where} pictures{over}"
            sheet = draw_mistakes(model, mistakes[:WORST], dataset.classes, title, self.note)
            save_png(sheet, self.folder / "worst.png", made_by)

    def _curves(self, state: TrainingState, made_by: Mapping[str, str]) -> None:
        history = state.history
        phases = [(e["phase"], n) for n, e in enumerate(history) if n == 0 or history[n - 1]["phase"] != e["phase"]]
        best = next(
            (n for n, e in enumerate(history)
             if state.best and (e["phase"], e["epoch"]) == (state.best["phase"], state.best["epoch"])), None,
        )  # fmt: skip
        figure = draw_curves(
            [
                Panel(
                    "loss (nats)", [_curve("training", history, "train_loss"), _curve("validation", history, "loss")]
                ),
                Panel(
                    "validation, share",
                    [
                        _curve("accuracy", history, "accuracy"),
                        _curve("balanced accuracy", history, "balanced_accuracy"),
                    ],
                ),
            ],
            title="Fine-tuning, epoch by epoch",
            subtitle="The training loss includes label smoothing, class weights and dropout; the validation loss none.",
            phases=phases,
            best=best,
        )
        save_png(figure, self.folder / "curves.png", made_by)


def find_mistakes(model: Model, scores: ClassRows, samples: Sequence[Sample]) -> list[Mistake]:
    """The wrong answers, the most confident first."""
    found = []
    for sample, row, shares in zip(samples, scores.scores, model.probabilities(scores), strict=True):
        answer = int(order_classes(row, shares)[0])
        if answer != sample.label:
            found.append(Mistake(sample, answer, float(shares[answer])))
    return sorted(found, key=lambda m: -m.probability)


def draw_mistakes(
    model: Model, mistakes: Sequence[Mistake], classes: Sequence[str], title: str, note: Callable[[str], None]
) -> Image.Image:
    """Each picture, and beside it the picture under the class activation map of the wrong answer."""
    engine = None
    try:
        engine = prepare(model)
    except InspectorError as error:
        note(f"the mistakes are shown without maps: {error}")
    tiles, captions = [], []
    for m in mistakes:
        picture = open_image(m.sample.path)
        small = resize_picture(picture, fit_size(picture.size, 144))
        tile = small
        if engine is not None:
            [found] = engine.maps(picture, [m.answer])
            share = small.width / picture.width, small.height / picture.height
            box = (found.box[0] * share[0], found.box[1] * share[1], found.box[2] * share[0], found.box[3] * share[1])
            over = draw_overlay(small, found.heatmap, box, opacity=0.5)
            tile = Image.new("RGB", (2 * small.width + 2, small.height), (255, 255, 255))
            tile.paste(small, (0, 0))
            tile.paste(over, (small.width + 2, 0))
        tiles.append(tile)
        captions.append(f"answer {classes[m.answer]} ({m.probability:.0%}), truth {classes[m.sample.label]}")
    layer = ""
    if engine is not None:
        names, size = ", ".join(x.name for x in engine.layers), f"{found.shape[0]} x {found.shape[1]}"
        layer = f"; right: Grad-CAM of the wrong answer at {names}, {size}: yellow speaks for it, violet does not"
    return draw_sheet(
        tiles, captions, columns=4, title=title, note=f"Left: the picture{layer}.", tile_size=290, caption_lines=2,
        margin=10,
    )  # fmt: skip


def _curve(name: str, history: Sequence[Mapping[str, Any]], key: str) -> Curve:
    return Curve(name, [e[key] for e in history])


def _share(confusion: Sequence[Sequence[int]]) -> str:
    total = sum(map(sum, confusion))
    right = sum(row[k] for k, row in enumerate(confusion))
    return f"{right} of {total} right, {format_percent(right / total)}" if total else ""


def import_summary_writer() -> Any:
    """The class that writes event files.

    Raises:
        MissingExtra: Tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("--tensorboard needs tensorboard", install_command("tensorboard")) from None
    return SummaryWriter

"""The statistics of a finished scan, for others that hold something against them or judge by them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.extras import need
from inspector.model import Model
from inspector.scanning.kept import is_scan
from inspector.scanning.listing import ScanError
from inspector.scanning.plan import ScanPlan, load_plan


@dataclass(frozen=True, eq=False)
class LayerReference:
    """What a scan knows of the channels of a layer, over all of its pictures.

    Attributes:
        mean: Mean of each channel, float64 (C,).
        std: Its standard deviation over all places of all pictures, float64 (C,).
        spread: Standard deviation over pictures of its mean on a picture, float64 (C,).
        low: Its smallest value, float32 (C,).
        high: Its largest value, float32 (C,).
        dead: Whether it is constant on every picture, bool (C,).
        blank: Share of the pictures on which it is constant, float64 (C,).
        zeros: Share of the layer's values that are exactly 0, in [0, 1].
        zero_spread: Standard deviation over pictures of that share on a picture.
        non_finite: How many of its values are NaN or infinite.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    spread: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    dead: NDArray[np.bool_]
    blank: NDArray[np.float64]
    zeros: float
    zero_spread: float
    non_finite: int


@dataclass(frozen=True, eq=False)
class AnswerReference:
    """What the network answered on each picture of a scan: n of them.

    Attributes:
        predicted: The most likely class, int64 (n,).
        confidence: Its probability, float64 (n,).
        label: Class of the label, int64 (n,); -1 without one that the network knows.
    """

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    label: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScanReference:
    """A finished scan of a model.

    Attributes:
        folder: Where it lies.
        plan: What it did.
        pictures: How many pictures it used.
        layers: Its layers by name, in the order of the network.
        skipped: The pictures that it could not use: name -> reason.
    """

    folder: Path
    plan: ScanPlan
    pictures: int
    layers: Mapping[str, LayerReference]
    skipped: Mapping[str, str] = field(repr=False)

    def read_answers(self) -> AnswerReference | None:
        """The answers on all of its pictures; None for a network without classes.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        if not self.plan.classifies:
            return None
        table = _read_table(self.folder, "pictures.parquet", ["predicted_index", "confidence", "label"])
        label = table.column("label").combine_chunks().dictionary_encode()
        # A label is told as the data has it, and the plan says which class that is.
        known = {label: k if k < self.plan.known else -1 for label, k in self.plan.labels.items()}
        return AnswerReference(
            table.column("predicted_index").to_numpy().astype(np.int64),
            table.column("confidence").to_numpy().astype(np.float64),
            # Behind the classes of all labels that of a picture without one.
            np.array([*(known.get(name, -1) for name in label.dictionary.to_pylist()), -1], np.int64)[
                label.indices.fill_null(-1).to_numpy()
            ],
        )

    def name_pictures(self, rows: NDArray[np.int64]) -> list[str]:
        """What some pictures are called.

        Args:
            rows: Their rows in the answers, int64 (n,).
        """
        path = _read_table(self.folder, "pictures.parquet", ["path"]).column("path")
        names: list[str] = path.take(rows).to_pylist()
        return names


def read_scan_reference(folder: Path, model: Model) -> ScanReference:
    """Read what a finished scan of a model knows.

    Args:
        folder: The folder of the scan.
        model: The model; it must be that of the scan.

    Raises:
        ScanError: There is no finished scan, or it is of another model.
        MissingExtra: pyarrow is not installed.
    """
    if not is_scan(folder):
        raise ScanError(f"{folder} holds no finished scan", "give a folder that `inspector scan` wrote")
    plan = load_plan(folder)
    if plan.model.digest != model.digest:
        raise ScanError(
            f"{folder} is a scan of another model than {model.path}: their digests are {plan.model.digest[:12]} and "
            f"{model.digest[:12]}",
            "scan with this one",
        )
    try:
        document = json.loads((folder / "scan.json").read_text("utf-8"))
        names = ["layer", "mean", "std", "mean_spread", "minimum", "maximum", "dead", "blank_share"]
        table = _read_table(folder, "channels.parquet", names).to_pydict()
        layers, start = {}, 0
        for told in document["layers"]:
            own = slice(start, start + told["channels"])
            layers[str(told["name"])] = _build(told, {name: table[name][own] for name in names})
            start = own.stop
        skipped = {str(one["path"]): str(one["reason"]) for one in document["skipped"]}
        return ScanReference(folder, plan, int(document["pictures"]), layers, skipped)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScanError(f"the scan {folder} cannot be read: {error}", "scan with --resume") from None


def _build(told: Mapping[str, Any], rows: Mapping[str, Any]) -> LayerReference:
    def read(name: str, dtype: type) -> NDArray[Any]:
        return np.array([np.nan if value is None else value for value in rows[name]], dtype)

    return LayerReference(
        read("mean", np.float64),
        read("std", np.float64),
        read("mean_spread", np.float64),
        read("minimum", np.float32),
        read("maximum", np.float32),
        read("dead", np.bool_),
        read("blank_share", np.float64),
        float(told["zero_fraction"] or 0),
        float(told["zero_spread"]),
        int(told["non_finite"]),
    )


def _read_table(folder: Path, name: str, columns: list[str]) -> Any:
    parquet = need("pyarrow.parquet", "scan", "the tables of a scan need pyarrow")
    return parquet.read_table(folder / name, columns=columns)

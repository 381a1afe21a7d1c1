"""Two scans of one network: where its channels, its answers and its embeddings have moved.

A scan is of pictures, and pictures are what is drawn by chance; so every test is over pictures. The level that is
stated is that of all channels together (Holm 1979): where nothing has changed, some channel is flagged in at most so
many of all comparisons.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import UsageError
from inspector.extras import need
from inspector.image import choose_evenly
from inspector.scanning.listing import ScanError

_GROUPS = 10
_SAMPLE = 400
"""Pictures of each scan whose embeddings are compared."""
_PERMUTATIONS = 999
_FEWEST = 5
"""Pictures that are expected of a class at least; rarer ones are taken together."""


@dataclass(frozen=True)
class ChannelDrift:
    """How a channel's largest value on a picture has moved.

    Attributes:
        layer: Its layer.
        channel: Its number.
        stability: Population stability index over tenths of A; above 0.25 is usually called a large change.
        distance: Kolmogorov-Smirnov distance of the two histograms, in [0, 1].
        probability: Of such a distance by chance, after Holm's correction; never too small, since bins hide distance.
        moved: Whether that is below the level.
    """

    layer: str
    channel: int
    stability: float
    distance: float
    probability: float
    moved: bool


@dataclass(frozen=True)
class ScanDrift:
    """What has moved from one scan to another.

    Attributes:
        level: Of each of the three tests.
        pictures: How many pictures A and B have.
        channels: Every channel, in the order of the network.
        classes: (class, its share of the predictions in A, in B), the largest change first.
        class_stability: Population stability index of the predictions; None without classes.
        class_probability: Of such a change of the predictions by chance (chi-squared test of homogeneity).
        embedding_distance: Energy distance of the embeddings (Szekely & Rizzo 2004); None where they differ in kind.
        embedding_probability: Of such a distance by chance, by 999 permutations.
    """

    level: float
    pictures: tuple[int, int]
    channels: tuple[ChannelDrift, ...] = field(repr=False)
    classes: tuple[tuple[str, float, float], ...] = field(repr=False)
    class_stability: float | None
    class_probability: float | None
    embedding_distance: float | None
    embedding_probability: float | None

    @property
    def moved(self) -> bool:
        """Whether any of the three tests finds a change."""
        others = (self.class_probability, self.embedding_probability)
        return any(x.moved for x in self.channels) or any(p is not None and p < self.level for p in others)

    def to_json(self) -> dict[str, Any]:
        """The drift as a document."""
        return {
            "level": self.level,
            "moved": self.moved,
            "pictures": list(self.pictures),
            "channels": [vars(x) for x in self.channels],
            "classes": [{"class": name, "a": a, "b": b} for name, a, b in self.classes],
            "class_stability": self.class_stability,
            "class_probability": self.class_probability,
            "embedding_distance": self.embedding_distance,
            "embedding_probability": self.embedding_probability,
        }


def measure_drift(a: Path, b: Path, level: float = 0.01) -> ScanDrift:
    """Compare two finished scans of the same layers.

    Args:
        a: The folder of the scan that drift is measured from.
        b: The folder of the other.
        level: Of each of the three tests, above 0 and below 1.

    Raises:
        ScanError: One is not finished, or they are of different layers.
        UsageError: The level is out of range.
        MissingExtra: pyarrow is not installed.
    """
    if not 0 < level < 1:
        raise UsageError(f"a level of {level:g} is out of range", "give a number between 0 and 1, such as 0.01")
    parquet = need("pyarrow.parquet", "scan", "comparing scans needs pyarrow")
    documents = [_read(folder) for folder in (a, b)]
    if [(x["name"], x["channels"]) for x in documents[0]["layers"]] != [
        (x["name"], x["channels"]) for x in documents[1]["layers"]
    ]:
        raise ScanError(f"{a} and {b} are scans of different layers", "scan with the same --layer")
    classes = _compare_classes(a, b, parquet)
    energy = _compare_embeddings(a, b, parquet, documents)
    return ScanDrift(
        level,
        (documents[0]["pictures"], documents[1]["pictures"]),
        _compare_channels(a, b, parquet, level),
        classes[0],
        classes[1],
        classes[2],
        energy[0],
        energy[1],
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((folder / "scan.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise ScanError(f"{folder} holds no finished scan", "give the folders that `inspector scan` wrote") from None
    if not (isinstance(document, dict) and isinstance(document.get("layers"), list) and "pictures" in document):
        raise ScanError(f"{folder / 'scan.json'} is no document of a scan, or damaged", "scan again")
    return document


def _compare_channels(a: Path, b: Path, parquet: Any, level: float) -> tuple[ChannelDrift, ...]:
    tables = [
        parquet.read_table(folder / "channels.parquet", columns=["layer", "channel", "histogram"]) for folder in (a, b)
    ]
    counts = [np.array(t.column("histogram").combine_chunks().flatten()).reshape(len(t), -1) for t in tables]
    names, numbers = tables[0].column("layer").to_pylist(), tables[0].column("channel").to_pylist()
    before, after = (c.astype(np.float64) for c in counts)
    sizes = before.sum(axis=1), after.sum(axis=1)
    gap = np.abs(np.cumsum(before, axis=1) / sizes[0][:, None] - np.cumsum(after, axis=1) / sizes[1][:, None]).max(
        axis=1
    )
    effective = sizes[0] * sizes[1] / (sizes[0] + sizes[1])
    chance = np.array([kolmogorov_tail(float(d * math.sqrt(n))) for d, n in zip(gap, effective, strict=True)])
    corrected = correct_by_holm(chance)
    return tuple(
        ChannelDrift(name, number, measure_stability(x, y), float(d), float(p), bool(p < level))
        for name, number, x, y, d, p in zip(names, numbers, before, after, gap, corrected, strict=True)
    )


def measure_stability(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Population stability index of two histograms: sum of (b - a) ln(b / a) over about ten equal groups of the first.

    Args:
        before: Counts of the first, (bins,).
        after: Counts of the other, (bins,).
    """
    edges = np.minimum(np.cumsum(before) * _GROUPS / max(before.sum(), 1), _GROUPS - 1e-9).astype(int)
    # What lies behind the last value of the first belongs to its last group.
    a, b = np.bincount(edges, before, _GROUPS), np.bincount(edges, after, _GROUPS)
    kept = (a + b) > 0
    # Half a picture more in each, or an empty group would be infinitely far.
    p = (a[kept] + 0.5) / (a[kept] + 0.5).sum()
    q = (b[kept] + 0.5) / (b[kept] + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def kolmogorov_tail(x: float) -> float:
    """P(K > x) of Kolmogorov's distribution, 2 sum (-1)^(k-1) exp(-2 k^2 x^2)."""
    if x < 0.2:
        return 1.0
    total = sum(math.exp(-2 * k * k * x * x) * (1 if k % 2 else -1) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def correct_by_holm(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities corrected for their number (S. Holm, 1979): each may be held against the level of all."""
    order = np.argsort(chances, kind="stable")
    stepped = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1)).clip(max=1)
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected


ClassShift = tuple[tuple[tuple[str, float, float], ...], float | None, float | None]


def _compare_classes(a: Path, b: Path, parquet: Any) -> ClassShift:
    found = []
    for folder in (a, b):
        column = parquet.read_table(folder / "pictures.parquet", columns=["predicted"]).column("predicted")
        counts = column.drop_null().value_counts().to_pylist()
        found.append({str(x["values"]): int(x["counts"]) for x in counts})
    names = sorted(found[0].keys() | found[1].keys())
    if not names:
        return (), None, None
    before, after = (np.array([one.get(name, 0) for name in names], np.float64) for one in found)
    shares = before / max(before.sum(), 1), after / max(after.sum(), 1)
    rows = sorted(
        zip(names, *(s.tolist() for s in shares), strict=True), key=lambda row: (-abs(row[2] - row[1]), row[0])
    )
    p, q = (before + 0.5) / (before + 0.5).sum(), (after + 0.5) / (after + 0.5).sum()
    return tuple(rows), float(((q - p) * np.log(q / p)).sum()), judge_counts(before, after)


def judge_counts(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Probability of such a difference of two rows of counts by chance, by the chi-squared test of homogeneity.

    Args:
        before: Counts of the first, (K,).
        after: Counts of the other, (K,).
    """
    table = np.stack([before, after])
    sizes = table.sum(axis=1)
    expected = np.outer(sizes, table.sum(axis=0)) / max(table.sum(), 1)
    rare = expected.min(axis=0) < _FEWEST
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
        expected = np.column_stack([expected[:, ~rare], expected[:, rare].sum(axis=1)])
    kept = expected.min(axis=0) > 0
    freedom = int(kept.sum()) - 1
    if freedom < 1:
        return 1.0
    return chi_squared_tail(float((np.square(table - expected)[:, kept] / expected[:, kept]).sum()), freedom)


def chi_squared_tail(x: float, freedom: int) -> float:
    """P(X > x) of the chi-squared distribution, by its recurrence over the degrees of freedom."""
    if x <= 0:
        return 1.0
    half = x / 2
    total = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    k = 1.5 if freedom % 2 else 2.0
    while k <= freedom / 2 + 1e-9:
        total += math.exp((k - 1) * math.log(half) - half - math.lgamma(k))
        k += 1
    return min(1.0, total)


def _compare_embeddings(
    a: Path, b: Path, parquet: Any, documents: Sequence[Mapping[str, Any]]
) -> tuple[float | None, float | None]:
    """(energy distance, its probability by chance); None for another layer."""
    if documents[0]["embedding"]["layer"] != documents[1]["embedding"]["layer"]:
        return None, None
    samples = [_sample_embeddings(folder, parquet) for folder in (a, b)]
    if samples[0].shape[1] != samples[1].shape[1] or min(map(len, samples)) < 2:
        return None, None
    return measure_energy_distance(samples[0], samples[1])


def _sample_embeddings(folder: Path, parquet: Any) -> NDArray[np.float64]:
    with parquet.ParquetFile(folder / "pictures.parquet") as file:
        chosen = np.array(choose_evenly(file.metadata.num_rows, _SAMPLE))
        kept, start = [], 0
        for batch in file.iter_batches(columns=["embedding"]):
            own = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
            values = np.array(batch.column("embedding").flatten()).reshape(len(batch), -1)
            kept.append(values[own].astype(np.float64))
            start += len(batch)
    return np.concatenate(kept)


def measure_energy_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """(energy distance of two samples, the probability of such a one by chance).

    2 E|A - B| - E|A - A'| - E|B - B'| (Szekely & Rizzo, "Testing for equal distributions in high dimension", 2004),
    with 999 permutations of seed 0, so that the level of the test is exact.

    Args:
        a: (n, D).
        b: (m, D).
    """
    every = np.concatenate([a, b])
    lengths = np.square(every).sum(axis=1)
    far = np.sqrt((lengths[:, None] + lengths - 2 * every @ every.T).clip(0))
    np.fill_diagonal(far, 0)
    n, m = len(a), len(b)
    rng = np.random.default_rng(0)
    weights = np.empty((_PERMUTATIONS + 1, n + m))
    usual = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    weights[0] = usual
    for k in range(_PERMUTATIONS):
        weights[k + 1] = rng.permutation(usual)
    energy = -((weights @ far) * weights).sum(axis=1)
    return float(energy[0]), float((energy >= energy[0] - 1e-12).sum() / len(energy))

"""What all pictures say together, against slow references: confident learning, copies, neighbours, clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector.scanning.analysis.copies import find_copies_of
from inspector.scanning.analysis.neighbours import (
    find_clusters,
    measure_class_distances,
    measure_outliers,
    reduce_embeddings,
)
from inspector.scanning.analysis.suspects import find_suspects
from inspector.scanning.columns import Columns
from tests.conftest import require


def make_columns(count: int, **known: Any) -> Columns:
    usual: dict[str, Any] = {
        "number": np.arange(count),
        "label": np.full(count, -1, np.int32),
        "size": np.zeros((count, 2), np.int32),
        "digest": np.random.default_rng(5).integers(0, 256, (count, 16), np.uint8),
        "label_probability": np.full(count, np.nan, np.float32),
        "entropy": np.zeros(count, np.float32),
        "top_classes": np.zeros((count, 0), np.int32),
        "top_probabilities": np.zeros((count, 0), np.float32),
        "embedding": np.zeros((count, 4), np.float16),
        "small": np.zeros((count, 32, 32), np.uint8),
    }
    return Columns(**{**usual, **known})


def answer(label: np.ndarray, probabilities: np.ndarray) -> Columns:
    order = np.argsort(-probabilities, axis=1, kind="stable").astype(np.int32)
    return make_columns(
        len(label),
        label=label.astype(np.int32),
        label_probability=probabilities[np.arange(len(label)), label],
        top_classes=order,
        top_probabilities=np.take_along_axis(probabilities, order, axis=1),
    )


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(given labels, true labels, probabilities from outside of each fold) of digits with 5 % of the labels swapped."""
    data = require("sklearn.datasets").load_digits()
    linear = require("sklearn.linear_model").LogisticRegression
    rng = np.random.default_rng(11)
    true = data.target[:900]
    label = true.copy()
    swapped = rng.choice(len(label), 45, replace=False)
    label[swapped] = (label[swapped] + rng.integers(1, 10, len(swapped))) % 10
    probabilities = np.zeros((len(label), 10))
    fold = rng.integers(0, 3, len(label))
    for k in range(3):
        fitted = linear(max_iter=60, C=0.3, tol=0.01).fit(data.data[:900][fold != k] / 16, label[fold != k])
        probabilities[fold == k] = fitted.predict_proba(data.data[:900][fold == k] / 16)
    return label, true, probabilities.astype(np.float32)


def slow_suspects(label: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(confident class or -1, confident joint), from the paper in plain loops."""
    classes = p.shape[1]
    threshold = [np.mean([float(row[k]) for row, y in zip(p, label, strict=True) if y == k]) for k in range(classes)]
    confident, joint = [], np.zeros((classes, classes), int)
    for row, y in zip(p, label, strict=True):
        reached = [k for k in range(classes) if row[k] >= threshold[k] - 1e-9]
        best = max(reached, key=lambda k: row[k]) if reached else -1
        confident.append(best)
        if best >= 0:
            joint[y, best] += 1
    return np.array(confident), joint


def test_confident_learning_against_plain_loops(digits: tuple[np.ndarray, ...]) -> None:
    label, true, p = digits
    found = find_suspects(answer(label, p), 10, step=200)
    confident, joint = slow_suspects(label, p)
    assert found.suggested.tolist() == confident.tolist()
    assert (found.joint == joint).all()
    suspect = (found.suggested >= 0) & (found.suggested != label)
    wrong = label != true
    # A threshold is a mean, so that about half of the pictures of a class reach it.
    assert (suspect & wrong).sum() >= 0.5 * wrong.sum()
    assert (found.suggested[suspect & wrong] == true[suspect & wrong]).mean() > 0.9
    assert (suspect & wrong).sum() > 0.8 * suspect.sum()


def test_label_suspects_are_ranked_as_well_as_by_cleanlab(digits: tuple[np.ndarray, ...]) -> None:
    scores = require("cleanlab.rank").get_label_quality_scores
    precision = require("sklearn.metrics").average_precision_score
    label, true, p = digits
    found = find_suspects(answer(label, p), 10)
    own = precision(label != true, -found.quality)
    assert own >= precision(label != true, -scores(label, p.astype(np.float64))) - 1e-6
    joint = require("cleanlab.count").compute_confident_joint(label, p.astype(np.float64), calibrate=False)
    off = ~np.eye(10, dtype=bool)
    assert (found.joint[off] == joint[off]).all()


def test_labels_that_the_network_does_not_know_are_not_judged() -> None:
    p = np.float32([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    columns = answer(np.array([0, 1, 0]), p)
    columns = Columns(**{**vars(columns), "label": np.int32([0, 5, -1])})
    found = find_suspects(columns, 2)
    assert found.suggested.tolist() == [0, -1, -1]
    assert np.isnan(found.quality[1:]).all()
    assert find_suspects(make_columns(3), 0).suggested.tolist() == [-1, -1, -1]


@pytest.mark.slow
def test_copies_are_found_though_they_were_scaled_encoded_and_cut() -> None:
    data = require("skimage.data")
    from io import BytesIO

    bases = []
    for name in ("chelsea", "astronaut", "coffee", "rocket"):
        photo = Image.fromarray(getattr(data, name)())
        w, h = photo.size
        bases += [photo.crop((x, y, x + w // 2, y + h // 2)) for x in (0, w // 2) for y in (0, h // 2)]
    stream = BytesIO()
    made = []
    for photo in bases:
        w, h = photo.size
        stream = BytesIO()
        photo.save(stream, "JPEG", quality=30)
        made += [
            photo,
            photo.resize((w // 2, h // 2)),
            Image.open(stream),
            photo.crop((w // 20, h // 20, w - w // 20, h - h // 20)),
            photo.crop((0, h // 20, w, h)),
        ]
    small = np.stack(
        [np.asarray(x.convert("L").resize((224, 224)).resize((32, 32), Image.Resampling.BOX)) for x in made]
    )
    # An embedding that is a blurred picture: what was cut stays near.
    embedding = small.reshape(len(made), 8, 4, 8, 4).mean(axis=(2, 4)).reshape(len(made), -1).astype(np.float16)
    columns = make_columns(len(made), small=small, embedding=embedding)
    groups = find_copies_of(columns, reduce_embeddings(columns).values)
    assert groups.tolist() == [k - k % 5 for k in range(len(made))]
    same = Columns(**{**vars(columns), "digest": np.zeros((len(made), 16), np.uint8)})
    assert set(find_copies_of(same, reduce_embeddings(columns).values).tolist()) == {0}


def test_neighbours_against_plain_loops_and_sklearn() -> None:
    rng = np.random.default_rng(2)
    embedding = rng.standard_normal((60, 12)) * np.arange(1, 13)
    embedding[17] += 40
    columns = make_columns(60, embedding=embedding.astype(np.float16))
    found = reduce_embeddings(columns)
    exact = columns.embedding.astype(np.float64)
    assert found.mean == pytest.approx(exact.mean(axis=0))
    fitted = require("sklearn.decomposition").PCA(12).fit(exact)
    assert np.abs(found.values) == pytest.approx(np.abs(fitted.transform(exact)), abs=1e-3)
    assert found.explained == pytest.approx(fitted.explained_variance_ratio_)
    outlier = measure_outliers(found.values)
    far = np.sqrt(np.square(exact[:, None] - exact[None]).sum(axis=2))
    nearest = np.array([np.sort(np.delete(row, k))[:10].mean() for k, row in enumerate(far)])
    assert outlier == pytest.approx(nearest / np.median(nearest), rel=1e-4)
    assert outlier.argmax() == 17
    classes = np.array([k % 3 if k else -1 for k in range(60)])
    distance = measure_class_distances(found.values, classes)
    own = exact[classes == 1] - exact[classes == 1].mean(axis=0)
    usual = np.sqrt(np.square(own).sum(axis=1).mean())
    assert distance[classes == 1] == pytest.approx(np.linalg.norm(own, axis=1) / usual, rel=1e-3)
    assert np.isnan(distance[0])


def test_clusters_of_what_lies_apart() -> None:
    rng = np.random.default_rng(3)
    sizes = [40, 30, 20, 10]
    values = np.concatenate([rng.standard_normal((size, 2)) + 100 * k for k, size in enumerate(sizes)]).astype(
        np.float32
    )
    found = find_clusters(values, most=4)
    assert found.tolist() == [k for k, size in enumerate(sizes) for _ in range(size)]
    assert find_clusters(np.zeros((1, 2), np.float32)).tolist() == [0]

"""Eigen-CAM."""

from __future__ import annotations

import numpy as np

from inspector.cam.context import FloatArray
from inspector.cam.method import Method


def eigencam(activation: FloatArray) -> FloatArray:
    """Eigen-CAM = the activation vectors of all places, centred, projected on their first principal direction.

    Muhammad, Yeasin: Eigen-CAM, 2020 (arXiv:2008.00299), equation 4. The (h w, C) matrix is centred per channel, as in
    grad-cam. It does not look at the class. The sign of a singular vector is arbitrary: here the map agrees with the
    mean of the channels' maps (and has its larger extreme positive where it is unrelated to that).

    Args:
        activation: float32 (C, h, w) -> float32 (h, w); zeros where all places are alike, or where values are not
            finite.
    """
    channels, height, width = activation.shape
    if not np.isfinite(activation).all():
        return np.zeros((height, width), np.float32)
    rows = activation.reshape(channels, -1).T.astype(np.float64)
    centred = rows - rows.mean(axis=0)
    # The eigenvectors of the smaller of the two Gram matrices give the same as a full decomposition.
    if channels < height * width:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        projection = centred @ vectors[:, -1]
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        projection = vectors[:, -1] * np.sqrt(max(values[-1], 0))
    if np.abs(projection).max() <= 1e-7 * np.sqrt(np.square(rows).sum(axis=1).max()):
        return np.zeros((height, width), np.float32)
    agreement = float(projection @ centred.mean(axis=1))
    reach = float(np.abs(projection).max() * np.abs(centred.mean(axis=1)).sum())
    if agreement < -1e-9 * reach or (agreement <= 1e-9 * reach and projection.max() < -projection.min()):
        projection = -projection
    result: FloatArray = projection.reshape(height, width).astype(np.float32)
    return result


METHOD = Method("eigencam", "Eigen-CAM", "Muhammad 2020, arXiv:2008.00299", 2020, "activation", eigencam)

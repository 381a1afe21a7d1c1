"""The page of the default model on two pictures, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector import open_model
from inspector.pages.report import Report, write_report
from tests.pages.browser import CHROMIUM
from tests.pages.documents import write_audit, write_filters


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory, default_model: Path, photo: Path) -> Report:
    folder = tmp_path_factory.mktemp("report")
    with Image.open(photo) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((300, 400)).save(folder / "mirrored.png")
    model = open_model(default_model)
    audit = write_audit(folder, model.sha256)
    filters = write_filters(folder, model.sha256, "blocks.5.swish", photo)
    pictures = [("chelsea.jpg", photo), ("mirrored.png", folder / "mirrored.png")]
    return write_report(model, pictures, folder / "report.html", audit=audit, filters=filters)


@pytest.fixture(scope="session")
def plain() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()

"""Pictures for the audits, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit import pictures


@pytest.fixture(scope="session")
def cats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder: ten crops and flips of the cat."""
    return pictures.cats(tmp_path_factory.mktemp("cats"))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder: crops and flips of photographs of four classes; needs scikit-image."""
    return pictures.photographs(tmp_path_factory.mktemp("photographs"))

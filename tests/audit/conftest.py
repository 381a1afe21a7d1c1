"""Pictures for the audits, made once, a small model, and a register that is put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.auditing import find_checks, registry
from inspector.metadata import KEY, Metadata
from inspector.model import Model, open_model
from tests.audit import pictures
from tests.audit.networks import small
from tests.conftest import MakeModel


@pytest.fixture(scope="session")
def cats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder: ten crops and flips of the cat."""
    return pictures.cats(tmp_path_factory.mktemp("cats"))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder: crops and flips of photographs of four classes; needs scikit-image."""
    return pictures.photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def model(make_model: MakeModel) -> Model:
    metadata = Metadata(labels=("cat", "dog", "fox")).dumps()
    return open_model(make_model(small, shape=("N", 3, 16, 16), metadata={KEY: metadata}))


@pytest.fixture
def registered() -> Iterator[None]:
    """Checks that a test adds are gone after it."""
    find_checks()
    before = dict(registry.registered)
    yield
    registry.registered.clear()
    registry.registered.update(before)

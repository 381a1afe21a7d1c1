"""The options of `inspector finetune` are the fields of FineTuneOptions: one default, one line of help each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from exporters.planning.options import FineTuneOptions, list_option_fields
from inspector.cli.app import app, run_guarded
from inspector.cli.options import read_settings
from tests.conftest import ROOT


def help_of(capsys: pytest.CaptureFixture[str]) -> str:
    assert run_guarded(lambda: app(args=["finetune", "--help"], standalone_mode=False), False) == 0
    return capsys.readouterr().out


def test_every_field_is_an_option_with_its_default_and_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_of(capsys).split())
    for option in fields(FineTuneOptions):
        choice = list_option_fields()[option.name]
        flag = f"--{option.name.replace('_', '-')} "
        assert (flag in text) is bool(choice.help), option.name
        assert choice.help in text
        if choice.help and isinstance(option.default, int | float):
            entry = text[text.index(f"{flag}{choice.metavar}") :]
            assert entry[entry.index("[default: ") :].startswith(f"[default: {option.default}]"), option.name


def test_the_help_lists_options_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    lines = help_of(capsys).splitlines()
    headings = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Arguments", "Data", "Base and unfreezing", "Training of the head", "Joint training", "Both trainings",
        "Regularisation", "Cache", "Machine", "Output", "Options",
    ]  # fmt: skip


def test_the_help_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None; "
        "from inspector.cli.app import run; sys.exit(run(['finetune', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--joint-rate" in done.stdout


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"augment": "hflip,crop"}, {"augment": ("hflip", "crop")}),
        ({"poses": "none"}, {"poses": ()}),
        ({"size": 96}, {"size": (96, 96)}),
        ({"size": None, "head_rate": 0.1}, {"size": None, "head_rate": 0.1}),
    ],
)
def test_texts_become_the_values_of_fields(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert read_settings(FineTuneOptions, given) == read

"""The documentation says what is there: every command, method and file; what is generated is not stale."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.cam.methods import METHODS
from inspector.cli import list_commands
from tests.conftest import ROOT, require

README = (ROOT / "README.md").read_text("utf-8")
RAW = "https://raw.githubusercontent.com/onnx-inspector/onnx-inspector/main/"
PAGES = sorted((ROOT / "docs").glob("*.md"))
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *PAGES]
SITE = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def command_pages() -> dict[str, Any]:
    """The names of docs/scripts/commands.py."""
    return runpy.run_path(str(ROOT / "docs" / "scripts" / "commands.py"))


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


def test_the_page_of_commands_is_not_stale(command_pages: dict[str, Any]) -> None:
    written = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert written == command_pages["write_page"](), "run: python docs/scripts/commands.py"


def test_the_table_of_commands_is_not_stale(command_pages: dict[str, Any]) -> None:
    assert command_pages["replace_table"](README) == README, "run: python docs/scripts/commands.py"


@pytest.mark.parametrize("name", [name for name, _ in list_commands()])
def test_every_command_is_shown(name: str) -> None:
    shown = "".join(page.read_text("utf-8") for page in PAGES if page.name != "commands.md")
    assert f"inspector {name}" in shown, f"show `inspector {name}` in docs/guide.md"


@pytest.mark.parametrize("name", [name for name, _ in list_commands()])
def test_every_command_is_in_the_changelog(name: str) -> None:
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"`(?:inspector )?{name}[ `]", changes), f"say in CHANGELOG.md that there is `inspector {name}`"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_named(name: str) -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    guide = (ROOT / "docs" / "guide.md").read_text("utf-8")
    assert f"`{name}`" in README, "name it in README.md"
    assert f"`{name}`" in guide, "name it in docs/guide.md"
    assert re.search(rf"(?<![\w+]){re.escape(name)}(?![\w+])", page), "name it in the help of `inspector cam --method`"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    files = re.findall(r"`((?:inspector|exporters|tests|models|docs|\.github)/[\w./-]*)`", text)
    missing = [name for name in files if not (ROOT / name).exists() and not re.search(r"NAME|FOLDER", name)]
    assert not missing
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in SITE["project"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {inspector.__version__}\n" in citation
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.search(r"^## \[?(\d+\.\d+\.\d+)\]? - (\d{4}-\d\d-\d\d)$", changes, re.M)
    assert released is not None
    assert released[1] == inspector.__version__
    assert f'date-released: "{released[2]}"' in citation


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_the_workflows_have_the_form_that_hosts_read(path: Path) -> None:
    check_form("vendor.github-workflows", path)


def test_the_action_has_the_form_that_hosts_read() -> None:
    check_form("vendor.github-actions", ROOT / "action.yml")


def check_form(schema: str, path: Path) -> None:
    require("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_passes_what_the_command_takes() -> None:
    text = (ROOT / "action.yml").read_text("utf-8")
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    audit = page.split("## inspector audit")[1].split("\n## ")[0]
    for option in ("--sarif", "--policy", "--data", "--against"):
        assert option in text
        assert f"`{option} " in audit


def test_pictures_of_the_readme_show_on_a_package_index_too() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert picture.startswith(RAW), "give its whole address: a package index has the text alone"
        assert (ROOT / picture.removeprefix(RAW)).is_file()

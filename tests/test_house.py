"""The rules of the house: which package may import which, and where it says so."""

from __future__ import annotations

import re
import runpy
import tomllib
from importlib.util import find_spec
from typing import Any

import pytest

from tests.conftest import ROOT

LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in LINTER["contracts"]}
PACKAGES = {
    path.stem
    for path in (ROOT / "inspector").iterdir()
    if (path / "__init__.py").is_file() or (path.suffix == ".py" and not path.stem.startswith("__"))
}
"""What stands directly in inspector/."""


@pytest.fixture(scope="module")
def house() -> dict[str, Any]:
    """The names of docs/scripts/house.py."""
    return runpy.run_path(str(ROOT / "docs" / "scripts" / "house.py"))


@pytest.mark.skipif(find_spec("importlinter") is None, reason="import-linter is not installed")
@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_contracts_on_imports_hold(
    contract: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlinter.application.use_cases import SUCCESS
    from importlinter.cli import lint_imports

    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    code = lint_imports(config_filename="pyproject.toml", limit_to_contracts=(contract,), no_cache=True)
    assert code == int(not SUCCESS), capsys.readouterr().out


def test_every_package_has_its_row(house: dict[str, Any]) -> None:
    rows = [name for row in house["read_rows"]() for name in row]
    assert sorted(rows) == sorted(PACKAGES)


def test_the_rules_are_about_every_package() -> None:
    makers = {name.removeprefix("inspector.") for name in CONTRACTS["makers"]["source_modules"]}
    assert makers == PACKAGES - {"cli", "api"}
    light = {name.removeprefix("inspector.") for name in CONTRACTS["torch"]["source_modules"]}
    assert light == PACKAGES - {"twin", "ascent"} | {"exporters.planning", "exporters.quantizing"}


def test_the_page_and_the_drawing_say_what_the_contract_says(house: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert page == house["replace_rows"](page), "run: python docs/scripts/house.py"
    assert (ROOT / "docs" / "house.svg").read_text("utf-8") == house["draw"](), "run: python docs/scripts/house.py"
    for name in PACKAGES:
        assert re.search(rf"`inspector/{name}(\.py)?` \|", page), f"say in docs/architecture.md what {name} holds"
    for name in house["read_makers"]():
        assert f"`exporters/{name}` |" in page, f"say in docs/architecture.md what {name} holds"

"""The rules of the house: which package may import which, how long things may be, one spelling."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, require

LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in LINTER["contracts"]}
FILES = sorted([*(ROOT / "inspector").rglob("*.py"), *(ROOT / "exporters").rglob("*.py")])


def find_parts(package: str) -> set[str]:
    return {
        path.stem
        for path in (ROOT / package).iterdir()
        if (path / "__init__.py").is_file() or (path.suffix == ".py" and not path.stem.startswith("__"))
    }


PACKAGES = find_parts("inspector")
"""What stands directly in inspector/."""

MAKERS = find_parts("exporters")
"""What stands directly in exporters/."""


@pytest.fixture(scope="module")
def house() -> dict[str, Any]:
    """The names of docs/scripts/house.py."""
    return runpy.run_path(str(ROOT / "docs" / "scripts" / "house.py"))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_contracts_on_imports_hold(
    contract: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require("importlinter")
    from importlinter.application.use_cases import SUCCESS
    from importlinter.cli import lint_imports

    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    code = lint_imports(config_filename="pyproject.toml", limit_to_contracts=(contract,), no_cache=True)
    assert code == int(not SUCCESS), capsys.readouterr().out


def test_every_package_has_its_row(house: dict[str, Any]) -> None:
    rows = [name for row in house["read_rows"]() for name in row]
    assert sorted(rows) == sorted(PACKAGES)
    makers = [name for row in house["read_makers"]() for name in row]
    assert sorted(makers) == sorted(MAKERS)


def test_the_rules_are_about_every_package() -> None:
    makers = {name.removeprefix("inspector.") for name in CONTRACTS["makers"]["source_modules"]}
    assert makers == PACKAGES - {"cli", "api"}
    light = {name.removeprefix("inspector.") for name in CONTRACTS["torch"]["source_modules"]}
    without = {f"exporters.{name}" for name in MAKERS - {"sources", "exporting", "finetuning"}}
    assert light == PACKAGES - {"twin", "ascent"} | without
    callers = {name.removeprefix("inspector.") for name in CONTRACTS["callers"]["forbidden_modules"]}
    rows = [set(re.findall(r"[a-z_]+", row)) for row in CONTRACTS["arrows"]["layers"]]
    above = next(k for k, row in enumerate(rows) if "cam" in row)
    assert callers == set().union(*rows[:above]), "the arrow from exporters in docs/house.svg points at the row of cam"


def test_what_makes_a_model_is_imported_inside_functions() -> None:
    """At the top of a file of `inspector` stand only the two modules that the help needs, and types."""
    found = set()
    for path in (ROOT / "inspector").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "exporters":
                found.add(node.module)
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "exporters"}
    assert found == {"exporters.forms", "exporters.planning.options"}


def test_the_page_and_the_drawing_say_what_the_contract_says(house: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert page == house["replace_rows"](page), "run: python docs/scripts/house.py"
    assert (ROOT / "docs" / "house.svg").read_text("utf-8") == house["draw"](), "run: python docs/scripts/house.py"
    for name in PACKAGES:
        assert re.search(rf"`inspector/{name}(\.py)?` \|", page), f"say in docs/architecture.md what {name} holds"
    for name in MAKERS:
        assert re.search(rf"`exporters/{name}(\.py)?` \|", page), f"say in docs/architecture.md what {name} holds"


def test_every_module_of_operators_of_the_twin_is_imported() -> None:
    folder = ROOT / "inspector" / "twin" / "operators"
    listed = set(re.findall(r'^    "(\w+)",$', (folder / "__init__.py").read_text("utf-8"), re.M))
    modules = {path.stem for path in folder.glob("[!_]*.py") if "\n@operator(" in path.read_text("utf-8")}
    assert modules <= listed, "list it in inspector/twin/operators/__init__.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 400, "a file has at most 400 lines"
    folder = path.parent.relative_to(ROOT).as_posix()
    command = path.stem if folder == "inspector/cli" else None
    inputs = folder == "inspector/twin/operators"
    assert not list(find_long_functions(text, command, inputs))


def find_long_functions(text: str, command_name: str | None, inputs: bool) -> Iterator[str]:
    """What breaks the rules: functions over 60 lines or 7 parameters without a reason above; command bodies over 15.

    command_name: the function that is a command, whose parameters are its options. inputs: the functions called `run`
    are kernels of the twin, whose parameters are the inputs of the operator.
    """
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        above = "\n".join(lines[max(0, first - 4) : first - 1])
        arguments = node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        parameters = [name for name in names if name not in ("self", "cls")]
        command = node.name == command_name
        assert node.end_lineno is not None
        if command:
            body = count_body(node, lines)
            if body > 15:
                yield f"{node.name}: a command's body has at most 15 lines, this one {body}"
            continue
        if len(parameters) > 7 and "# Wide:" not in above and not (inputs and node.name == "run"):
            yield f"{node.name}: {len(parameters)} parameters, without `# Wide: reason` above"
        if node.end_lineno - node.lineno + 1 > 60 and "# Long:" not in above:
            yield f"{node.name}: {node.end_lineno - node.lineno + 1} lines, without `# Long: reason` above"


def count_body(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of code after the docstring; imports are left out, which stand inside so that the help is quick."""
    statements = node.body[1:] if ast.get_docstring(node) else node.body
    kept = [s for s in statements if not isinstance(s, ast.Import | ast.ImportFrom)]
    numbers = {number for s in kept for number in range(s.lineno, (s.end_lineno or s.lineno) + 1)}
    return sum(bool(lines[number - 1].strip()) for number in numbers)


def test_one_spelling_in_names() -> None:
    """In names it is quantize and color. `colour` alone is a key of the preprocess in files that are out there."""
    wrong = re.compile(r"quantis|colour", re.I)
    found = [str(path.relative_to(ROOT)) for path in FILES if wrong.search(path.stem)]
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for kind in ("name", "id", "attr", "arg"):
                name = getattr(node, kind, None)
                if isinstance(name, str) and wrong.search(name) and name != "colour":
                    found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} {name}")
    assert not found


def read_tops(path: Path) -> dict[str, str]:
    """Public name -> what defines it, of the functions, classes, types and constants at the top of a file."""
    tops = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            tops[node.name] = "" if isinstance(node, ast.ClassDef) else "()"
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    tops[target.id] = ast.unparse(node.value)
    return {name: what for name, what in tops.items() if not name.startswith("_")}


def name_module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TOPS = {name_module(path): read_tops(path) for path in FILES}
"""Module -> its public names."""

BY_RECIPE = {
    "inspector.cli": {"document", "show", "tell"},
    "inspector.cam.methods": {"METHOD"},
    "exporters.sources.kinds": {"LIBRARY", "load"},
}
"""Names that every file of a folder defines, because a recipe of CONTRIBUTING.md or the command line calls them so."""

FACES = {"Model", "open_model", "dream", "finetune", "plan_finetune"}
"""The public call of `inspector.api` and what it calls: the one thing, with and without what a user gives it."""


def test_one_public_name_for_one_thing() -> None:
    """No class, function, type or shared constant has the name of another.

    What may: an alias of the same type; a command and the call or the method of its name; what `BY_RECIPE` and
    `FACES` list. A constant that no other module imports is its module's own.
    """
    imported = set()
    for path in FILES:
        package = name_module(path).split(".") if path.stem == "__init__" else name_module(path).split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                start = package[: len(package) + 1 - node.level] if node.level else []
                module = ".".join([*start, *([node.module] if node.module else [])])
                imported |= {(module, alias.name) for alias in node.names}
    homes: dict[str, dict[str, str]] = {}
    for module, tops in TOPS.items():
        folder, _, file = module.rpartition(".")
        for name, what in tops.items():
            command = folder == "inspector.cli" and name == file
            own = name.isupper() and len(name) > 1 and (module, name) not in imported
            if not command and not own and name not in BY_RECIPE.get(folder, ()):
                homes.setdefault(name, {})[module] = what
    twice = {
        name: sorted(modules)
        for name, modules in homes.items()
        if len(modules) > 1
        and name not in FACES
        and (len(set(modules.values())) > 1 or next(iter(modules.values())) in ("", "()"))
    }
    assert not twice, "\n".join(f"{k}: {v}" for k, v in twice.items())


def test_functions_are_no_participles() -> None:
    """A function says what it does, not what it has done. Checks and kernels of the twin have names of the field."""
    verbs = {"add", "bring", "embed", "feed", "need", "seed", "speed", "spread"}
    nouns = {"listing", "pointing", "sampling"}  # a listing of names, the pointing game, a sampling matrix
    found = [
        f"{module}.{name}"
        for module, tops in TOPS.items()
        if not module.startswith(("inspector.auditing.checks.", "inspector.twin.operators."))
        for name, what in tops.items()
        if what == "()" and re.match(r"[a-z]+(ed|ing)(_|$)", name) and name.split("_")[0] not in verbs | nouns
    ]
    assert not found, "name it for what it does"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parameters_and_errors_are_described_in_sections(path: Path) -> None:
    """What a public function takes and raises stands under `Args:` and `Raises:`, the fields of a class likewise."""
    assert not list(find_descriptions_in_text(ast.parse(path.read_text("utf-8")).body))


def find_descriptions_in_text(body: list[ast.stmt]) -> Iterator[str]:
    """Functions and classes whose docstring has `name: what it is` or `Raises Error` in its text."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        names = {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)} if hasattr(node, "args") else set()
        if isinstance(node, ast.ClassDef):
            names = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
            yield from find_descriptions_in_text(node.body)
        text = re.split(
            r"^(?:Args|Attributes|Returns|Yields|Raises|Example):$", ast.get_docstring(node) or "", flags=re.M
        )[0]
        told = re.findall(r"(?:^|[.;] |\n)((?:\w+, )*\w+): ", text)
        if any(set(each.split(", ")) <= names for each in told) or re.search(r"(?:^|[.] |\n)Raises [A-Z]", text):
            yield f"{node.name}: {text}"

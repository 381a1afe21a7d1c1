"""`inspector audit`: documents, exit codes, files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from inspector.auditing import find_checks
from inspector.cli.app import run_guarded
from inspector.cli.audit import audit
from tests.audit import broken
from tests.conftest import MakeModel
from tests.foreign import Net

FAST = """
[images]
sample = 8
explain = 1
[checks]
""" + "\n".join(
    f"{id} = {{ on = false }}" for id in ("twin", "memory", "latency", "cam-deletion", "cam-insertion", "optimised")
)


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    made.callback()(lambda: None)
    made.command("audit")(audit)
    return made


def call(app: typer.Typer, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    given = ["audit", *map(str, arguments)]
    code = run_guarded(lambda: app(args=given, standalone_mode=False), "--json" in given)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    file = tmp_path / "policy.toml"
    file.write_text(FAST)
    return file


def test_a_healthy_model(
    app: typer.Typer, capsys: Any, default_model: Path, cats: Path, fast: Path, tmp_path: Path
) -> None:
    code, out, err = call(
        app, capsys, default_model, "--data", cats, "--policy", fast, "--json", "--junit", tmp_path / "j.xml",
        "--sarif", tmp_path / "s.sarif", "--markdown", tmp_path / "m.md", "--save-snapshot", tmp_path / "s.npz",
    )  # fmt: skip
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["schema"], document["command"], document["passed"]) == (1, "audit", True)
    assert document["model"]["sha256"]
    assert document["pictures"] == 10
    assert document["policy"] == str(fast)
    by_id = {check["id"]: check for check in document["checks"]}
    assert by_id["accuracy"] | {"seconds": 0} == by_id["accuracy"] | {
        "status": "pass", "severity": "error", "value": 1.0, "limit": 0.6, "seconds": 0,
        "where": {"layer": None, "channel": None, "image": None},
        "message": "100.0% of 10 pictures are recognised",
    }  # fmt: skip
    for name in ("j.xml", "s.sarif", "m.md", "s.npz"):
        assert (tmp_path / name).stat().st_size > 500


def test_a_broken_model(app: typer.Typer, capsys: Any, fast: Path, tmp_path: Path) -> None:
    sick = broken.not_a_number(tmp_path / "nan.onnx")
    code, out, _ = call(app, capsys, sick, "--policy", fast)
    assert code == 1
    assert "FAIL   weights-finite" in out
    assert "not fit to ship" in out.splitlines()[-1]
    fast.write_text("[checks]\n" + "\n".join(f"{id}.on = false" for id in find_checks() if id != "weights-finite"))
    code, out, _ = call(app, capsys, sick, "--policy", fast, "--json")
    assert code == 1
    assert json.loads(out)["passed"] is False


def test_nothing_checked_is_a_failure(app: typer.Typer, capsys: Any, default_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "off.toml"
    file.write_text("[checks]\n" + "\n".join(f"{id}.on = false" for id in find_checks()))
    code, out, _ = call(app, capsys, default_model, "--policy", file)
    assert code == 1
    assert "nothing was checked" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.onnx",), "there is no file none.onnx"),
        (("DEFAULT", "--policy", "none.toml"), "there is no policy none.toml"),
        (("DEFAULT", "--data", "none"), "the pictures' folder none does not exist"),
        (("DEFAULT", "--against", "none.npz"), "the reference: there is no file none.npz"),
        ((), "no MODEL was given"),
        (("DEFAULT", "--junit", "none/x.xml"), "cannot write none/x.xml: its folder does not exist"),
        (("DEFAULT", "--sarif", "."), "cannot write .: it is a folder"),
        (("DEFAULT", "--markdown", "none/x.md"), "cannot write none/x.md"),
        (("DEFAULT", "--save-snapshot", "none/x.npz"), "cannot write none/x.npz"),
        (("DEFAULT", "--policy", "masks.toml"), "the masks' folder none (regions.masks) does not exist"),
        (("DEFAULT", "--seed", "-1"), "Invalid value for '--seed'"),
        (("DEFAULT", "--provider", "abacus"), "there is no provider 'abacus'"),
    ],
)
def test_bad_input_is_exit_code_2(
    app: typer.Typer, capsys: Any, default_model: Path, arguments: tuple[str, ...], message: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("masks.toml").write_text('[regions]\nmasks = "none"\n')
    # It is told before anything is checked.
    monkeypatch.setattr("inspector.auditing.run.AuditWalk", None)
    given = [str(default_model) if a == "DEFAULT" else a for a in arguments]
    code, out, err = call(app, capsys, *given)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    code, out, err = call(app, capsys, *given, "--json")
    assert (code, err) == (2, "")
    assert message in json.loads(out)["error"]["message"]


def test_a_model_that_is_refused_still_gets_its_reports(
    app: typer.Typer, capsys: Any, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

    def custom(net: Net, x: str) -> str:
        return net("Mystery", net.conv(x, 3, 4), domain="my.company")

    code, out, _ = call(app, capsys, make_model(custom, my_company=1), "--sarif", tmp_path / "s.sarif")
    assert code == 1
    assert "FAIL   opens" in out
    results = json.loads((tmp_path / "s.sarif").read_text())["runs"][0]["results"]
    assert [r["ruleId"] for r in results] == ["opens"]


def test_init(
    app: typer.Typer, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default_model: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    code, out, _ = call(app, capsys, "--init")
    assert code == 0
    assert "inspector-audit.toml holds the built-in policy" in out
    assert Path("inspector-audit.toml").read_text().startswith("# What `inspector audit` demands")
    code, _, err = call(app, capsys, "--init")
    assert code == 2
    assert "is there already" in err
    code, out, _ = call(app, capsys, "--init", "--policy", "ci/other.toml", "--json")
    assert code == 2
    Path("ci").mkdir()
    code, out, _ = call(app, capsys, "--init", "--policy", "ci/other.toml", "--json")
    assert json.loads(out)["file"] == "ci/other.toml"


def test_the_summary_of_a_job(
    app: typer.Typer, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    call(app, capsys, broken.not_a_number(tmp_path / "nan.onnx"), "--policy", fast)
    assert "weights-finite" in summary.read_text("utf-8")


def test_the_verdict_is_told_where_a_report_cannot_be_written(
    app: typer.Typer, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default_model: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "summary.md"))
    file = tmp_path / "policy.toml"
    file.write_text("[checks]\n" + "\n".join(f"{id}.on = false" for id in find_checks() if id != "opset"))
    given = (default_model, "--policy", file, "--sarif", tmp_path / "s.sarif")
    code, out, err = call(app, capsys, *given)
    assert code == 2
    assert out.splitlines()[-1].startswith("passed: 1 passed")
    assert err.startswith("inspector: cannot write")
    assert err.count("\n") == 1
    assert (tmp_path / "s.sarif").exists()
    code, out, err = call(app, capsys, *given, "--json")
    assert (code, json.loads(out)["passed"]) == (2, True)
    assert "cannot write" in err


def test_no_torch_is_imported_where_the_twin_is_off(default_model: Path, fast: Path) -> None:
    import os
    import subprocess

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from inspector.auditing import audit_model, load_policy\n"
        f"found = audit_model({str(default_model)!r}, load_policy({str(fast)!r}))\n"
        "assert found.passed, found.verdict\n"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env={**os.environ, "PYTHONPATH": root})

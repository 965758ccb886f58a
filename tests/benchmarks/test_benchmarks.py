"""The command: its verbs, its document, and real runs of what is quick."""

import re
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks import comparison, machine, servers
from benchmarks.__main__ import ALL, VERBS, main
from benchmarks.plan import Plan
from benchmarks.report.record import Report, Section
from benchmarks.servers import OURS

FOLDER = Path(machine.__file__).parent
README = (FOLDER / "README.md").read_text()


def test_the_table_of_verbs() -> None:
    """The README lists every verb in its order, with the command's own words."""
    table = README.partition("## Verbs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", table, re.MULTILINE)
    told = {verb: title for verb, (_, title) in VERBS.items()}
    assert rows == [*told.items(), (ALL, "all of them, into one report")]


def test_the_map_names_every_file() -> None:
    """And no file that there is not."""
    table = README.partition("## Map")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    sources = [*FOLDER.glob("*.py"), *(FOLDER / "suites").glob("*.py")]
    files = {str(path.relative_to(FOLDER)) for path in sources if path.name != "__init__.py"}
    files |= {f"{name}/" for name in ("load", "report", "peers", "models", "results")}
    assert named == files


def test_caveats_stand_first() -> None:
    """Before any number of its own."""
    assert README.index("Before you read a number") < README.index("## Verbs")


def test_a_report_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run gives JSON that reads back and a page with the same figures."""
    file = tmp_path / "page.html"
    assert main(["queue", "--quick", "--json", "--html", str(file)]) == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert [section.verb for section in report.sections] == ["queue"]
    assert report.sections[0].tables[0].rows
    python = Path(sys.executable).name
    assert report.command.startswith(f"{python} -m benchmarks queue --quick")
    assert "fair queue" in file.read_text()


def test_a_verb_that_breaks_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others' findings are kept, and the exit status says it."""

    def broken(plan: Plan) -> Section:
        raise ZeroDivisionError("of ours")

    monkeypatch.setitem(VERBS, "build", (broken, "breaks"))
    monkeypatch.setitem(VERBS, "store", (lambda plan: Section(verb="store", title="t"), "works"))
    for verb in set(VERBS) - {"build", "store"}:
        monkeypatch.delitem(VERBS, verb)
    assert main(["all", "--quick"]) == 1
    said = capsys.readouterr().out
    assert "FAILED: ZeroDivisionError: of ours" in said
    assert "== store: t" in said


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["store", "--compare", "x.json"], ["predict", "--compare", "/nonexistent"]],
)
def test_a_wrong_command_is_refused(arguments: list[str]) -> None:
    """Before anything runs."""
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2


def test_predictd_is_measured_for_real() -> None:
    """A gateway is started, asked through its port by real callers, and gone."""
    results = comparison.run_rounds([servers.ours()], (2,), Plan(seconds=1.0, rounds=1))
    ours = results[OURS]
    assert ours.failures == []
    assert ours.row(2)["requests_per_second"]
    assert {row["role"] for row in ours.cost_rows()} == {"gateway", "replicas", "generator"}


def test_of_the_gateway_only_its_client_is_known() -> None:
    """What is measured is what users have: nothing reaches into the process that serves."""
    imports = re.compile(r"^(?:from|import) (gateway[\w.]*)", re.MULTILINE)
    files = [file for file in FOLDER.rglob("*.py") if "models" not in file.parts]
    assert {name for file in files for name in imports.findall(file.read_text())} == {
        "gateway.client"
    }

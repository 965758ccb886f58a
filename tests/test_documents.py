"""What the README and the command line's README say, held to the code."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import make_parser
from gateway.errors import CATALOGUE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CLI_README = (ROOT / "gateway/cli/README.md").read_text()
DOCUMENTS = sorted(
    path for path in ROOT.rglob("README.md") if not {".venv", "project_templates"} & set(path.parts)
)


def verbs(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, str]]:
    """Every verb as one types it, with what its parser says of it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                below = list(verbs(sub, f"{before}{name} "))
                yield from below or [(f"{before}{name}", sub.description or "")]


def test_the_table_of_verbs() -> None:
    """The table lists every verb with the parser's own words, in its order."""
    table = CLI_README.partition("## Verbs")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w -]+)` \| (.+) \|$", table, re.MULTILINE) == list(
        verbs(make_parser())
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_verbs_that_are_mentioned_exist(path: Path) -> None:
    """No document tells anybody to type what there is not."""
    known = {verb.split()[0] for verb, _ in verbs(make_parser())}
    mentioned = set(re.findall(r"(?:`|^|/)predictd ([a-z][a-z-]*)", path.read_text(), re.MULTILINE))
    assert mentioned <= known


def test_the_table_of_answers() -> None:
    """The codes and statuses that callers are told of are the catalogue's, and all of `model.*`."""
    told = set()
    rows = re.findall(r"^\| ([\d, ]+) \| (`[^|]+`) \|", README, re.MULTILINE)
    for statuses, codes in rows:
        found = re.findall(r"`([\w.]+)`", codes)
        assert {CATALOGUE[code].status for code in found} == set(map(int, statuses.split(",")))
        told |= set(found)
    ours = {code for code in CATALOGUE if code.startswith(("model.", "request.", "gateway."))}
    assert told == ours - {"model.notfound", "request.host"}  # which are the admin API's


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a document names a file."""
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_ci_runs_the_command_of_the_readme() -> None:
    """The command that passes the tests is stated once, in the README; CI takes it from there."""
    block = README.partition("<!-- test command -->\n```sh\n")[2].partition("\n```")[0]
    assert block.endswith(".venv/bin/python -m pytest")
    assert "<!-- test command -->" in (ROOT / ".ci/run").read_text()


def test_what_is_trusted_is_tested() -> None:
    """Each line of "Trust" names a test, and each test or file of tests that it names exists."""
    trust = README.partition("## Trust")[2].partition("\n## ")[0]
    lines = re.findall(r"^\d+\. .*(?:\n +.*)*", trust, re.MULTILINE)
    assert len(lines) > 10
    assert [line for line in lines if "`test_" not in line] == []
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= {
            path.stem,
            *re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE),
        }
    assert set(re.findall(r"`(test_\w+)`", trust)) <= there

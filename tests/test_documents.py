"""What the README and the command line's reference say, held to the code."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import make_parser
from gateway.errors import CATALOGUE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CLI_REFERENCE = (ROOT / "gateway/cli/REFERENCE.md").read_text()
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "project_templates"} & set(path.parts)
)
# Their messages and advice name commands.
SOURCES = sorted(
    path
    for package in ("gateway", "workers", "builder", "store")
    for path in ROOT.glob(f"{package}/**/*")
    if path.suffix in (".py", ".html") and "inside" not in path.parts
)
# The folders whose files a README maps, as a table of `path` and meaning. A folder with a README of
# its own is one row of the map above it.
MAPPED = sorted(
    path.parent
    for package in ("gateway", "workers", "builder", "store")
    for path in ROOT.glob(f"{package}/**/README.md")
    if "\n| file | what it is |\n" in path.read_text()
    and not {"project_templates", "web", "cli", "inside"} & set(path.relative_to(ROOT).parts)
)


def sources(folder: Path) -> list[Path]:
    """The programs of both languages, and what R reads at its start."""
    return [file for file in folder.rglob("*") if file.suffix in (".py", ".R", ".site")]


def section(folder: Path, heading: str) -> str:
    return (folder / "README.md").read_text().partition(f"\n## {heading}\n")[2].split("\n## ")[0]


def verbs(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, str]]:
    """Every verb as one types it, with what its parser says of it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                below = list(verbs(sub, f"{before}{name} "))
                yield from below or [(f"{before}{name}", sub.description or "")]


def test_the_table_of_verbs() -> None:
    """The table lists every verb with the parser's own words, in its order."""
    table = CLI_REFERENCE.partition("## Verbs")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w -]+)` \| (.+) \|$", table, re.MULTILINE) == list(
        verbs(make_parser())
    )


@pytest.mark.parametrize("path", DOCUMENTS + SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_verbs_that_are_mentioned_exist(path: Path) -> None:
    """Documents, messages and advice name only verbs that exist, with their nouns."""
    known = {verb for verb, _ in verbs(make_parser())}
    nouns = {verb.split()[0] for verb in known if " " in verb}
    mentioned = re.findall(
        r"(?:`|^|/)predictd ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", path.read_text(), re.MULTILINE
    )
    assert {f"{word} {verb}" if word in nouns and verb else word for word, verb in mentioned} <= (
        known | nouns
    )


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


@pytest.mark.parametrize("folder", MAPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_map_of_a_folder_is_complete(folder: Path) -> None:
    """A README's map names every file and every folder with a README, and no other."""
    mapped = re.findall(r"^\| `([\w/.]+)` \|", section(folder, "Map"), re.MULTILINE)
    below = [path.parent for path in folder.glob("*/**/README.md")]
    own = [each for each in below if not any(other in each.parents for other in below)]
    files = [file for file in sources(folder) if not any(map(file.is_relative_to, own))]
    there = {str(file.relative_to(folder)) for file in files if file.name != "__init__.py"}
    there |= {f"{each.relative_to(folder)}/" for each in own}
    there = {re.sub("^project_templates/.*", "project_templates/", name) for name in there}
    assert len(mapped) == len(set(mapped))
    assert set(mapped) - {"__init__.py"} == there


@pytest.mark.parametrize("folder", MAPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_gotchas_are_numbered_and_cited(folder: Path) -> None:
    """Gotchas are numbered without a gap, and each is cited by the code that it concerns."""
    numbered = re.findall(r"^- \*\*(G\d+)\*\*", section(folder, "Gotchas"), re.MULTILINE)
    assert numbered == [f"G{n}" for n in range(1, len(numbered) + 1)]
    code = "\n".join(file.read_text("utf-8") for file in sources(folder))
    cited = set(re.findall(r"gotchas? (G\d+)(?! in \w+/)", code))
    cited |= set(re.findall(r"gotchas? G\d+ (?:to|and) (G\d+)", code))
    top = "\n".join(file.read_text("utf-8") for file in (ROOT / "gateway").glob("*.py"))
    cited |= set(re.findall(rf"gotcha (G\d+) in {folder.name}/README", top))
    assert set(numbered) <= cited


@pytest.mark.parametrize("folder", MAPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_decisions_are_numbered_and_dated(folder: Path) -> None:
    """Decisions are numbered from 1 without a gap, and each has its date."""
    decisions = section(folder, "Decisions")
    numbers = re.findall(r"^(\d+)\. ", decisions, re.MULTILINE)
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert len(re.findall(r"^\d+\. \(20\d\d-\d\d-\d\d\) ", decisions, re.MULTILINE)) == len(numbers)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a document names a file, and its anchor a heading of that file."""
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", path.read_text()):
        file = path.parent / target if target else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in anchors, f"{target}#{anchor}"


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

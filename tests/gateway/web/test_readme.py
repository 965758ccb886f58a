"""The README of the pages is held to the code."""

import re
from pathlib import Path

from gateway.web.routing import Page
from gateway.web.site import PAGES

FOLDER = Path(__file__).parents[3] / "gateway" / "web"
README = (FOLDER / "README.md").read_text("utf-8")


def section(heading: str) -> str:
    return README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_table_of_pages() -> None:
    """The table of pages is that from which the routes are made."""
    told = [line for line in section("Pages").splitlines() if line.startswith("| ")][1:]
    assert told == [
        f"| {page.method} | `{page.path}` | {_whom(page)} | {page.summary} |" for page in PAGES
    ]


def _whom(page: Page) -> str:
    if page.public:
        return "everybody"
    return "signed in" if page.needs == "user" else f"`{page.needs}`"


def test_the_map_is_complete() -> None:
    """The map names every file and folder of this room, and no other."""
    mapped = set(re.findall(r"^\| `([\w/.]+)` \|", section("Map"), re.MULTILINE))
    there = {each.name + "/" * each.is_dir() for each in FOLDER.iterdir()}
    assert mapped == there - {"README.md", "__init__.py", "__pycache__/"}


def test_gotchas_are_numbered_and_cited() -> None:
    """Gotchas are numbered from W1 without a gap, and each is cited by the code it concerns."""
    numbered = re.findall(r"^- \*\*(W\d+)\*\*", section("Gotchas"), re.MULTILINE)
    assert numbered == [f"W{n}" for n in range(1, len(numbered) + 1)]
    code = "\n".join(file.read_text("utf-8") for file in FOLDER.parent.rglob("*.py"))
    assert set(re.findall(r"gotcha (W\d+)", code)) == set(numbered)


def test_decisions_are_numbered() -> None:
    """Decisions are numbered from 1 without a gap."""
    numbers = re.findall(r"^(\d+)\. ", section("Decisions"), re.MULTILINE)
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]

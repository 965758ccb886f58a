"""TOML of a project is read in a time that grows with its length alone."""

import time

import pytest

from builder.files.toml import MOST_PARTS, read_toml

PARTS = 500_000
HOSTILE = {
    "a dotted key": "a." * PARTS + "a = 1",
    "blanks": "a . " * PARTS + "a = 1",
    "quoted parts": '"". ' * PARTS + "a = 1",
    "escapes": r'"\"".' * PARTS + "a = 1",
    "a table": "[" + "a." * PARTS + "a]",
    "an inline table": "x = {y = 1, " + "a." * PARTS + "a = 1}",
    "an odd quote before it": 'x = ["""\n\'""", {' + "a." * PARTS + "a = 1}] # '",
    "many keys": "".join("a." * MOST_PARTS + f"k{n} = 1\n" for n in range(PARTS // 100)),
    "open quotes": ("." * 100 + r"\"" * 1900 + "\n") * 250,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_long_keys_are_refused(what: str) -> None:
    """A megabyte of a key with many parts is refused in seconds, not hours."""
    began = time.process_time()
    with pytest.raises(ValueError, match=r"more than 100 parts|Invalid statement"):
        read_toml(HOSTILE[what])
    assert time.process_time() - began < 3


def test_usual_text_is_read() -> None:
    """Long lines with many dots in their values are read."""
    needs = [f"package-{n}==1.{n}.3" for n in range(100)]
    text = f"[project]\nname = 'a'\ndependencies = {needs}\n[tool.uv.'a.b'.sources]\nx.y = 1\n"
    found = read_toml(text)
    assert found["project"]["dependencies"] == needs
    assert found["tool"]["uv"]["a.b"]["sources"]["x"]["y"] == 1

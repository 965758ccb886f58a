"""`.env` files: what every tool reads alike is read, all else is refused by its line."""

import pytest

from gateway.cli.env_file import parse_env_file

TEXT = """\ufeff# a comment

PLAIN=value with blanks  \r
 export EXPORTED = x
"""


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("A=", ""),
        ("  export A= b c \t\r", "b c"),
        ("A=a=b#c", "a=b#c"),
        ("A='$x # \\\\n'", "$x # \\\\n"),
        ("A='' # nothing", ""),
        ('A="a\\n\\t\\"\\$\\\\"  # comment', 'a\n\t"$\\'),
        ('A="it\'s # one"', "it's # one"),
        ("A=\u00e9\u2028b", "\u00e9\u2028b"),
    ],
)
def test_values(line: str, value: str) -> None:
    """Quotes are removed; only double quotes have escapes."""
    assert parse_env_file(f"\ufeff# comment\n\n{line}\n") == {"A": value}


@pytest.mark.parametrize(
    "line",
    [
        "A",
        "A =1",
        "1A=1",
        "A-B=1",
        "export A",
        "A=$x",
        "A=a\\b",
        "A=it's",
        "A=a # comment",
        "A='open",
        "A='a' b",
        'A="open',
        'A="a" b',
        'A="$x"',
        'A="\\x41"',
        "A=`id`",
        "FIRST=2",
    ],
)
def test_refused_lines(line: str) -> None:
    """The error names the line, and no value."""
    with pytest.raises(ValueError, match="line 2") as refused:
        parse_env_file(f"FIRST=hunter2\n{line}\n")
    assert "hunter2" not in str(refused.value)

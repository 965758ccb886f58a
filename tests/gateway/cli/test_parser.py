"""The grammar: help by groups, examples, suggestions, and errors for programs."""

import io
import json
import shlex
from pathlib import Path

import pytest

from gateway.cli import make_parser
from gateway.cli.command import Command, Group
from gateway.cli.parser import commands, group_of
from tests.gateway.cli.conftest import Predictd

COMMANDS = list(commands())


def words(command: Command) -> str:
    return " ".join(command.words)


@pytest.mark.parametrize("argv", [[], ["help"], ["--help"], ["help", "help"]])
def test_help_lists_every_command_in_its_group(argv: list[str], predictd: Predictd) -> None:
    """The help has every group in order, and under it each verb or noun with its verbs."""
    outcome = predictd(*argv)
    if argv == ["help", "help"]:
        assert "usage: predictd help" in outcome.out
        return
    assert outcome.code == (0 if argv else 2)
    text = outcome.out or outcome.err
    positions = [text.index(f"\n{group}\n") for group in Group]
    assert positions == sorted(positions)
    for each in COMMANDS:
        section = text.partition(f"\n{group_of(each)}\n")[2].partition("\n\n")[0]
        assert f"\n  {each.words[0]} " in f"\n{section}"
        assert each.words[-1] in section


@pytest.mark.parametrize("command", COMMANDS, ids=words)
def test_examples_are_shown_and_parsed(
    command: Command, predictd: Predictd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each verb has one or two examples, which its help shows and its parser understands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.json").write_text("{}")
    shown = predictd("help", *command.words).out
    assert shown == predictd(*command.words, "--help").out
    assert 1 <= len(command.examples) <= 2
    for example in command.examples:
        assert f"\n  {example}\n" in shown
        assert make_parser().parse_args(shlex.split(example)[1:]).run is command.run


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("try m.R:f --kernel r 3", "request", 3),
        ("try m.R:f 3 --kernel r", "request", 3),
        ("files ls --project p data", "path", "data"),
        ("build show m --json 7", "number", 7),
        ("shell --r m", "what", "m"),
    ],
)
def test_optional_argument_may_stand_behind_options(line: str, name: str, value: object) -> None:
    """An argument that may be left out is found before and behind options."""
    assert getattr(make_parser().parse_args(line.split()), name) == value


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("try m.R:f --kernel r {", "argument JSON: '{' is not JSON", ""),
        ("try m.R:f 3 --kernel r 4", "unexpected argument '4'", "see `predictd try --help`"),
        ("dploy", "'dploy' is not a command", "did you mean `predictd deploy`?"),
        ("restart m", "'restart' is not a command", "did you mean `predictd model restart`?"),
        ("build logs m", "'logs' is not a command", "did you mean `predictd build log`?"),
        ("help biuld", "'biuld' is not a command", "did you mean `predictd build`?"),
        (
            "serve --isolation users",
            "unknown option '--isolation': it is a setting",
            "set it in the file of `--config`, or as PREDICTD_ISOLATION",
        ),
        ("deploy p.py:f --replica 2", "unknown option '--replica'", "did you mean '--replicas'?"),
        ("logs m --stream stder", "--stream is 'stder', not one of", "did you mean 'stderr'?"),
        ("--json ls", "unknown option '--json'", "write options behind the command"),
        ("--versoin", "unknown option '--versoin'", "did you mean '--version'?"),
        ("ls m", "unexpected argument 'm'", "see `predictd ls --help`"),
    ],
)
def test_mistyped_words_are_suggested(
    line: str, message: str, hint: str, predictd: Predictd
) -> None:
    """A mistyped verb, option or choice is answered with the closest one."""
    outcome = predictd(*line.split())
    assert outcome.code == 2
    assert f"error: {message}" in outcome.err
    assert f"hint: {hint}" in outcome.err


@pytest.mark.parametrize("line", ["--json", "build --json", "deploy --json x", "nope --json"])
def test_usage_errors_are_json_documents(line: str, predictd: Predictd) -> None:
    """With --json a usage error is one document on stdout."""
    outcome = predictd(*line.split())
    assert outcome.code == 2
    assert set(outcome.json["error"]) == {"message", "advice"}
    assert predictd(*line.replace("--json", "--jsn").split()).out == ""


@pytest.mark.parametrize("command", [each for each in COMMANDS if not each.is_local], ids=words)
def test_every_command_fails_with_a_json_document(
    command: Command, data: Path, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json each verb of a gateway says on stdout, in one document, that none runs."""
    for name in ("predict.py", "fit.py"):
        (folder / name).write_text("def predict(args): ...\n")
    (folder / "request.json").write_text("{}")
    monkeypatch.setattr("sys.stdin", io.StringIO("word\n"))
    for example in command.examples:
        argv = shlex.split(example)[1:]
        at = len(command.words)
        outcome = predictd(*argv[:at], "--json", *argv[at:])
        assert set(json.loads(outcome.out)) == {"error"}
        assert outcome.code in (2, 3)

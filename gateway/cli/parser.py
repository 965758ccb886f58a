"""The grammar of the command line, built from the commands that the modules declare.

A verb is declared on the function that runs it (see `command`). This file has only the modules, in
the order of `predictd help`, and one line for each noun.
"""

import shutil
import textwrap
from argparse import (
    Action,
    ArgumentError,
    ArgumentParser,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from gateway.cli.command import Command, Group
from gateway.cli.commands import (
    audit,
    backup,
    build,
    call,
    collaborator,
    completion,
    demo,
    deploy,
    deployment,
    doctor,
    env,
    experiment,
    files,
    garbage,
    help_,
    init,
    key,
    login,
    logs,
    metrics,
    model,
    open_page,
    project,
    requests,
    runtime,
    sdk_path,
    serve,
    settings,
    shell,
    site,
    status,
    try_function,
    unit,
    user,
)
from gateway.cli.context import CommandFailed, Exit
from gateway.suggested_command import suggested

MODULES: tuple[ModuleType, ...] = (
    *(init, deploy, try_function, shell, call, logs, requests, metrics, status),
    *(project, files, env, collaborator, model, build, deployment, experiment),
    *(login, open_page, key, user),
    *(demo, serve, settings, doctor, unit, site, runtime, audit, backup, garbage),
    *(help_, completion, sdk_path),
)


class Noun(NamedTuple):
    """What `predictd help` says about a noun, and where."""

    help: str
    group: Group


NOUNS = {
    "project": Noun("manage projects", Group.MANAGE),
    "files": Noun("list, upload and download the files of a project", Group.MANAGE),
    "env": Noun("manage environment variables and secrets", Group.MANAGE),
    "collaborator": Noun("manage who works in a project", Group.MANAGE),
    "model": Noun("act on one model", Group.MANAGE),
    "build": Noun("manage the builds of a model", Group.MANAGE),
    "deployment": Noun("list the deployments of a model", Group.MANAGE),
    "experiment": Noun("run scripts and manage their results", Group.MANAGE),
    "context": Noun("manage the gateways that commands can use", Group.ACCESS),
    "runtime": Noun("manage the interpreters that builds start from", Group.GATEWAY),
    "key": Noun("manage API keys", Group.ACCESS),
    "user": Noun("manage users (site administrators)", Group.ACCESS),
    "site": Noun("manage settings and active models (site administrators)", Group.GATEWAY),
}
EXIT_CODES = """\
exit codes: 0 ok · 1 operation failed · 2 usage · 3 no gateway reachable ·
4 the gateway refused · 5 the gateway failed · 124 time-out · 130 Ctrl-C ·
141 output pipe closed
"""
_COLUMN = 14


class UsageFailed(CommandFailed):
    """The arguments cannot be understood. `usage` is the line that says what can."""

    def __init__(self, usage: str, message: str, advice: str) -> None:
        super().__init__(message, advice, Exit.USAGE)
        self.usage = usage


class Parser(ArgumentParser):
    """The parser of `predictd`, of a noun or of a verb. Its errors are `UsageFailed`, with the
    closest thing that exists."""

    sub_commands: "_SubParsersAction[Parser] | None" = None

    def add_commands(self) -> "_SubParsersAction[Parser]":
        """Makes this the parser of a noun, or of all."""
        self.sub_commands = self.add_subparsers(
            title="commands", metavar="COMMAND", parser_class=Parser
        )
        self.set_defaults(run=None, help_of=self)
        return self.sub_commands

    def error(self, message: str) -> NoReturn:
        raise self._failed(message)

    def unknown_command(self, word: str) -> UsageFailed:
        """The error for a word that is no command of this parser."""
        known = self.sub_commands.choices if self.sub_commands else ()
        before = self.prog.split(" ")[1:]
        close = [" ".join((*before, each)) for each in get_close_matches(word, known, 1)]
        if not before:
            close = _with_noun(word) or close
        meant = " or ".join(map(suggested, close))
        return self._failed(
            f"{word!r} is not a command", f"did you mean {meant}? " if meant else ""
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        """Refuses an unknown argument here, where the known ones are. A last argument that may be
        left out may also stand behind options: argparse takes it for left out before them."""
        parsed, rest = super().parse_known_args(args, namespace)
        if len(rest) == 1 and (last := self._left_out(parsed, rest[0])):
            try:
                setattr(parsed, last.dest, self._get_values(last, rest))
            except ArgumentError as error:
                self.error(str(error))
            return parsed, []
        if not rest:
            return parsed, rest
        if not rest[0].startswith("-"):
            raise self._failed(f"unexpected argument {rest[0]!r}")
        option = rest[0].partition("=")[0]
        cutoff = 0.8 if self.sub_commands else 0.6
        close = get_close_matches(option, self._option_string_actions, 1, cutoff)
        problem = f"unknown option {option!r}"
        name = option.lstrip("-").replace("-", "_")
        if self.prog == "predictd serve" and _is_setting(name):
            where = f"set it in the file of `--config`, or as PREDICTD_{name.upper()}; "
            raise self._failed(f"{problem}: it is a setting", where)
        if self.sub_commands and not close:
            raise self._failed(problem, "write options behind the command; ")
        raise self._failed(problem, self._did_you_mean(close))

    def _left_out(self, parsed: Namespace, word: str) -> Action | None:
        """The argument that may be left out, and was, if the word can be its value."""
        optional = [each for each in self._get_positional_actions() if each.nargs == "?"]
        if len(optional) != 1 or (word.startswith("-") and word != "-"):
            return None
        was_left_out = getattr(parsed, optional[0].dest) == optional[0].default
        return optional[0] if was_left_out else None

    def _check_value(self, action: Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action is self.sub_commands:
            raise self.unknown_command(value)
        choices = [str(each) for each in action.choices]
        what = "/".join(action.option_strings) or str(action.metavar or action.dest)
        close = get_close_matches(str(value), choices, 1)
        message = f"{what} is {value!r}, not one of {', '.join(choices)}"
        raise self._failed(message, self._did_you_mean(close))

    def _did_you_mean(self, close: list[str]) -> str:
        return f"did you mean {close[0]!r}? " if close else ""

    def _failed(self, message: str, did_you_mean: str = "") -> UsageFailed:
        # The program name begins with `predictd`, and its words need no quotes.
        see = suggested(f"{self.prog} --help".removeprefix("predictd "))
        return UsageFailed(self.format_usage(), message, f"{did_you_mean}see {see}")


def _is_setting(name: str) -> bool:
    from gateway.settings import Settings  # its import takes longer than most commands

    return name in Settings.__struct_fields__


class _TopParser(Parser):
    def format_help(self) -> str:
        """All commands by group; a noun is one line with its verbs."""
        lines = [self.description or "", "", "usage: predictd COMMAND ...", ""]
        for group in Group:
            lines += [group, *(_row(*each) for each in _entries(group)), ""]
        return "\n".join(
            (
                *lines,
                "examples:",
                "  predictd demo",
                "  predictd deploy predict.py:predict",
                "  predictd call predict '{\"petal_length\": 5.4}'",
                "",
                "See the arguments and examples of a command with `predictd help COMMAND`.",
                EXIT_CODES,
            )
        )


class _Version(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from gateway.version import version

        parser.exit(message=f"predictd {version()}\n")


def commands() -> Iterator[Command]:
    """All verbs, in the order of the help."""
    for module in MODULES:
        for each in vars(module).values():
            if isinstance(each, Command):
                yield each


def _with_noun(word: str) -> list[str]:
    """The commands with a noun whose verb is this word, such as `restart`."""
    return [" ".join(each.words) for each in commands() if each.words[1:] == (word,)]


def group_of(command: Command) -> Group:
    """Its own group, or that of its noun."""
    return command.group or NOUNS[command.words[0]].group


def make_parser() -> Parser:
    """The parser of the whole command line."""
    parser = _TopParser(
        prog="predictd",
        description="Turns a function in a project folder into a REST endpoint.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", nargs=0, action=_Version, help="print the version and exit")
    top = parser.add_commands()
    nouns = dict[str, "_SubParsersAction[Parser]"]()
    for each in commands():
        *noun, verb = each.words
        if noun and noun[0] not in nouns:
            about = NOUNS[noun[0]].help
            nouns[noun[0]] = _new(top, noun[0], about).add_commands()
        each.add_to(_new(nouns[noun[0]] if noun else top, verb, each.help, each.examples))
    return parser


def find_parser(words: Sequence[str]) -> Parser:
    """The parser of a noun or verb, or without words of all. Raises UsageFailed."""
    parser = make_parser()
    for word in words:
        known = parser.sub_commands.choices if parser.sub_commands else {}
        if word not in known:
            raise parser.unknown_command(word)
        parser = known[word]
    return parser


def _new(
    parent: "_SubParsersAction[Parser]", name: str, about: str, examples: Sequence[str] = ()
) -> Parser:
    shown = "\n".join(("examples:", *(f"  {each}" for each in examples))) if examples else None
    return parent.add_parser(
        name,
        help=about,
        description=about,
        epilog=shown,
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
    )


def _entries(group: Group) -> Iterator[tuple[str, str]]:
    """The verbs and nouns of a group, with their help."""
    verbs = dict[str, list[str]]()
    for each in commands():
        if group_of(each) is group and len(each.words) == 1:
            yield each.words[0], each.help
        elif group_of(each) is group:
            verbs.setdefault(each.words[0], []).append(each.words[1])
    for noun, its_verbs in verbs.items():
        yield noun, f"{NOUNS[noun].help}: {', '.join(its_verbs)}"


def _row(name: str, about: str) -> str:
    width = max(shutil.get_terminal_size().columns, 40)
    return textwrap.fill(
        f"  {name:{_COLUMN}}{about}",
        width,
        subsequent_indent=" " * (_COLUMN + 2),
        break_on_hyphens=False,
    )

"""The grammar of the command line, built from the commands that the modules declare.

A verb is declared on the function that runs it (see `command`). This file has only the modules, in
the order of `predictd --help`, and one line for each noun.
"""

import sys
from argparse import Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NoReturn

from gateway.cli.command import Command
from gateway.cli.commands import (
    audit,
    backup,
    build,
    call,
    collaborator,
    demo,
    deploy,
    deployment,
    doctor,
    experiment,
    garbage,
    key,
    login,
    logs,
    metrics,
    model,
    open_page,
    project,
    sdk_path,
    serve,
    site,
    status,
    unit,
    user,
)
from gateway.cli.context import Exit

EXIT_CODES = """\
exit codes: 0 ok · 1 operation failed · 2 usage · 3 no gateway reachable ·
4 the gateway refused · 5 the gateway failed · 130 Ctrl-C · 141 output pipe closed
"""
MODULES: tuple[ModuleType, ...] = (
    *(serve, unit, demo, doctor, open_page, sdk_path),
    *(deploy, call, logs, metrics, status),
    *(project, collaborator, model, build, deployment, experiment),
    *(login, key, user, site),
    *(audit, backup, garbage),
)
NOUNS = {
    "project": "manage projects",
    "collaborator": "manage who works in a project",
    "model": "act on one model",
    "build": "manage the builds of a model",
    "deployment": "list the deployments of a model",
    "experiment": "run scripts and manage their results",
    "key": "manage API keys",
    "user": "manage users (site administrators)",
    "site": "manage settings and active models (site administrators)",
}


class _Parser(ArgumentParser):
    """Its errors look like all others of the command line."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"error: {message}\nhint: see `{self.prog} --help`\n")


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


def make_parser() -> ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="predictd",
        description="Turns a function in a project folder into a REST endpoint.",
        epilog=EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", nargs=0, action=_Version, help="print the version and exit")
    top = _sub_commands(parser)
    nouns: dict[str, Any] = {}
    for each in commands():
        *noun, verb = each.words
        if noun and noun[0] not in nouns:
            about = NOUNS[noun[0]]
            nouns[noun[0]] = _sub_commands(top.add_parser(noun[0], help=about, description=about))
        verbs = nouns[noun[0]] if noun else top
        each.add_to(
            verbs.add_parser(verb, help=each.help, description=each.help, allow_abbrev=False)
        )
    return parser


def _sub_commands(parser: ArgumentParser) -> Any:
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

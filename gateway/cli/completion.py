"""Completes words in bash, zsh and fish, by argcomplete.

The shell runs `predictd` with `_ARGCOMPLETE` set, and `complete` answers instead of the command.
Verbs, options and choices come from the grammar, and names from the gateway, by the metavar of the
argument: an argument with metavar MODEL is completed wherever it is declared. The gateway has one
second; without an answer there are no names.
"""

import ast
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter, SuppressCompleter
from argcomplete.shell_integration import shellcode

from gateway.cli.context import CommandFailed, Context
from gateway.cli.contexts import LOCAL
from gateway.cli.lookup import full_name
from gateway.cli.parser import Parser, commands
from gateway.cli.terminal import Terminal
from gateway.cli.time_limit import TimeLimitReached, time_limit
from gateway.client import ClientError

PATIENCE = 1.0  # seconds
Completer: TypeAlias = Callable[..., Iterable[str]]
Find: TypeAlias = Callable[[Context], Iterable[str]]


def complete(parser: Parser, environment: Mapping[str, str]) -> None:
    """Prints the completions that the shell asks for, and exits."""
    _set_completers(parser, _completers(environment))
    argcomplete.autocomplete(parser, default_completer=SuppressCompleter())


def script(shell: str) -> str:
    """What a shell runs to have completion."""
    return str(shellcode(["predictd"], shell=shell))


def _set_completers(parser: Parser, completers: Mapping[str, Completer]) -> None:
    for action in parser._actions:
        completer = completers.get(str(action.metavar))
        if completer and action is not parser.sub_commands:
            action.completer = completer  # type: ignore[attr-defined]
    if parser.sub_commands:
        for each in parser.sub_commands.choices.values():
            _set_completers(each, completers)


def _names(find: Find, environment: Mapping[str, str]) -> Completer:
    """Completes from what `find` gets for the command's gateway."""

    def complete(prefix: str, parsed_args: Namespace, **_: object) -> list[str]:
        given = {name: getattr(parsed_args, name, None) for name in ("url", "context", "data")}
        with open(os.devnull, "r+") as null:
            terminal = Terminal(null, null, null, as_json=True, environment={})
            context = Context(Namespace(**given), terminal, environment)
            try:
                with closing(context.resources), time_limit(PATIENCE):
                    return [each for each in find(context) if each.startswith(prefix)]
            except (ClientError, CommandFailed, TimeLimitReached):
                return []

    return complete


def _models(context: Context) -> Iterator[str]:
    """Names that fit one model, and all as PROJECT/NAME."""
    models = context.client.listing("/models")
    names = [each["name"] for each in models]
    for each in models:
        if names.count(each["name"]) == 1:
            yield each["name"]
        yield full_name(each)


def _listed(path: str, field: str) -> Find:
    """Finds a field of all records at a path of the admin API."""
    return lambda context: (str(each[field]) for each in context.client.listing(path))


def _contexts(context: Context) -> list[str]:
    return [LOCAL, *(each.name for each in context.contexts.stored)]


def _functions(prefix: str, **_: object) -> Iterator[str]:
    """FILE:FUNCTION of this folder: the files, and after the colon the functions of one."""
    file, colon, _name = prefix.rpartition(":")
    if not colon:
        files = (*Path.cwd().glob("*.py"), *Path.cwd().glob("*.[Rr]"))
        yield from (f"{path.name}:" for path in files)
        return
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, ValueError, SyntaxError):
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield f"{file}:{node.name}"


def _commands(prefix: str, **_: object) -> list[str]:
    return [each.words[0] for each in commands()]


def _completers(environment: Mapping[str, str]) -> dict[str, Completer]:
    """By the metavar of the argument."""
    names = {
        "MODEL": _models,
        "PROJECT": _listed("/projects", "name"),
        "EXPERIMENT": _listed("/experiments", "experiment_number"),
        "USER": _listed("/users", "username"),
        "CONTEXT": _contexts,
    }
    files = FilesCompleter()
    return {
        **{metavar: _names(find, environment) for metavar, find in names.items()},
        "FILE:FUNCTION": _functions,
        "COMMAND": _commands,
        "FILE": files,
        "SCRIPT": files,
        "DIR": DirectoriesCompleter(),
    }

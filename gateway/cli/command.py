"""Declares a verb by one decorator on the function that runs it.

    @command(
        "project rm",
        "delete a project and its models",
        PROJECT,
        YES,
        examples=["predictd project rm iris"],
    )
    def rm(context: Context) -> None: ...

The decorator names the verb as users type it, its line of help, its arguments and one or two
examples, which are parsed by a test. A verb without a noun also names its group in `predictd help`;
the others are in the group of their noun (`parser.NOUNS`). `parser` collects the commands of each
module and builds the grammar, so a new verb is one function in one file.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from gateway.cli.context import Context

Run: TypeAlias = Callable[[Context], int | None]


class Group(StrEnum):
    """The headings of `predictd help`, in its order."""

    SERVE = "Serve models"
    MANAGE = "Projects and models"
    ACCESS = "Sign-in and keys"
    GATEWAY = "The gateway"
    MORE = "More"


class Argument(NamedTuple):
    """One positional argument or option, with the options of `ArgumentParser.add_argument`."""

    names: tuple[str, ...]
    options: dict[str, Any]

    def add_to(self, parser: ArgumentParser) -> None:
        parser.add_argument(*self.names, **self.options)


class OneOf(NamedTuple):
    """Arguments of which at most one may be given, or exactly one where one is required."""

    arguments: tuple[Argument, ...]
    required: bool = False

    def add_to(self, parser: ArgumentParser) -> None:
        group = parser.add_mutually_exclusive_group(required=self.required)
        for each in self.arguments:
            group.add_argument(*each.names, **each.options)


class Command(NamedTuple):
    """One verb. `words` are what users type, such as `project rm`."""

    words: tuple[str, ...]
    help: str
    arguments: tuple[Argument | OneOf, ...]
    run: Run
    examples: tuple[str, ...]
    group: Group | None  # None: that of its noun
    is_local: bool

    def add_to(self, parser: ArgumentParser) -> None:
        """Adds its arguments, and those that all verbs have."""
        for each in self.arguments:
            each.add_to(parser)
        add = parser.add_argument_group("options of all commands").add_argument
        add("--json", action="store_true", help="print the result as one JSON document")
        add("--data", metavar="DIR", help="data folder of the gateway")
        if not self.is_local:
            add("--context", metavar="CONTEXT", help="stored gateway; see `predictd context ls`")
            add("--url", help="address of the gateway (default: the current context)")
        parser.set_defaults(run=self.run)


def argument(*names: str, **options: Any) -> Argument:
    """One argument, as for `ArgumentParser.add_argument`."""
    return Argument(names, options)


def command(
    words: str,
    about: str,
    *arguments: Argument | OneOf,
    examples: Sequence[str],
    group: Group | None = None,
    local: bool = False,
) -> Callable[[Run], Command]:
    """Declares the function below as a verb. `examples` are whole command lines. A `local` verb
    needs no running gateway."""
    split = tuple(words.split())
    if (len(split) == 1) != (group is not None):
        raise TypeError(f"verb {words!r} needs a noun or a group, not both")

    def declare(run: Run) -> Command:
        return Command(split, about, arguments, run, tuple(examples), group, local)

    return declare

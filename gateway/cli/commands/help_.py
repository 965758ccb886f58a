"""The verb help."""

from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context


@command(
    "help",
    "show all commands, or the arguments and examples of one",
    argument("words", metavar="COMMAND", nargs="*", help="such as deploy, or build ls"),
    examples=["predictd help", "predictd help build ls"],
    group=Group.MORE,
    local=True,
)
def help_(context: Context) -> None:
    """Prints the help of a command."""
    from gateway.cli.parser import commands, find_parser, group_of

    words = tuple(context.arguments.words)
    text = find_parser(words).format_help()
    shown = [
        {
            "command": " ".join(each.words),
            "help": each.help,
            "group": group_of(each),
            "examples": each.examples,
        }
        for each in commands()
        if each.words[: len(words)] == words
    ]
    context.terminal.result({"commands": shown}, text.rstrip("\n"))

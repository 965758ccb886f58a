"""The verb completion."""

import os

from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    "print what a shell runs to complete predictd's commands",
    argument("shell", choices=SHELLS, nargs="?", help="default: that of the variable SHELL"),
    examples=["predictd completion bash"],
    group=Group.MORE,
    local=True,
)
def completion(context: Context) -> None:
    """Prints a script for a shell, and says on a terminal where it belongs."""
    shell = context.arguments.shell or os.path.basename(context.environment.get("SHELL", ""))
    if shell not in SHELLS:
        message = f"there is no completion for the shell {shell!r}"
        raise CommandFailed(message, f"name one of {', '.join(SHELLS)}", Exit.USAGE)
    from gateway.cli.completion import script

    text = script(shell)
    context.terminal.result({"shell": shell, "script": text}, text.rstrip("\n"))
    if context.terminal.is_interactive:
        where = {
            "bash": 'put eval "$(predictd completion bash)" into ~/.bashrc',
            "zsh": 'put eval "$(predictd completion zsh)" after compinit into ~/.zshrc',
            "fish": "put predictd completion fish | source into ~/.config/fish/config.fish",
        }
        context.terminal.say(f"To have it in each new shell, {where[shell]}.")

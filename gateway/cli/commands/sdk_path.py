"""The verb sdk-path."""

from gateway.cli.command import Group, command
from gateway.cli.context import Context


@command(
    "sdk-path",
    "print the folder for PYTHONPATH that has cdsw and cml",
    local=True,
    examples=["predictd sdk-path"],
    group=Group.MORE,
)
def sdk_path(context: Context) -> None:
    """Where Python finds `cdsw` and `cml` outside of models and experiments."""
    from workers import PACKAGES

    context.terminal.result({"path": str(PACKAGES)}, str(PACKAGES))

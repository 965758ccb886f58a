"""The verb sdk-path."""

from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context


@command(
    "sdk-path",
    "print the folder for PYTHONPATH, or R_LIBS, that has cdsw and cml",
    argument("--language", choices=["python", "r"], default="python", help="default: python"),
    local=True,
    examples=["predictd sdk-path", "predictd sdk-path --language r"],
    group=Group.MORE,
)
def sdk_path(context: Context) -> None:
    """Where Python or R finds `cdsw` and `cml` outside of models and experiments."""
    from workers import PACKAGES, R_PACKAGES

    path = {"python": PACKAGES, "r": R_PACKAGES}[context.arguments.language]
    context.terminal.result({"path": str(path)}, str(path))

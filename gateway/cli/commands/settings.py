"""The verb settings: what `predictd serve` can be set to, without a gateway."""

from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context
from gateway.cli.terminal import facts


@command(
    "settings",
    "list all settings of `predictd serve`, with their defaults",
    argument("names", metavar="NAME", nargs="*", help="only settings whose names contain this"),
    local=True,
    examples=["predictd settings", "predictd settings timeout"],
    group=Group.GATEWAY,
)
def settings(context: Context) -> None:
    """Each setting: its default, its meaning, and when a change takes effect."""
    import msgspec

    from gateway.settings import SETTINGS, Settings

    defaults = msgspec.to_builtins(Settings(), enc_hook=str)
    parts = context.arguments.names or [""]
    found = [
        {
            "name": each.name,
            "default": defaults[each.name],
            "meaning": each.meaning,
            "takes_effect": each.takes_effect,
        }
        for each in SETTINGS.values()
        if any(part in each.name for part in parts)
    ]
    blocks = []
    for each in found:
        about = {"default": _shown(each["default"]), "change": each["takes_effect"]}
        blocks.append(f"{each['name']}: {each['meaning']}\n{facts(about)}")
    blocks.append(
        "Set one in the file of `serve --config`, by the variable PREDICTD_NAME, or while the "
        "gateway runs by `predictd site set`."
    )
    context.terminal.result({"settings": found}, "\n\n".join(blocks))


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in ("", [], {}) else str(value)

"""The verbs `predictd site show|set|reset|models`, for site administrators."""

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from gateway.cli.arguments import setting
from gateway.cli.command import argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import full_name
from gateway.cli.terminal import MIB, mib, plural, table, when
from gateway.client import Json


@command(
    "site show",
    "show all settings and where each value comes from",
    examples=["predictd site show"],
)
def show(context: Context) -> None:
    """The settings: value, source, and when a change takes effect."""
    settings = context.client.get("/site/settings")["settings"]
    site = context.client.get("/site")
    document = {"settings": settings}
    document |= {name: site[name] for name in ("disk", "last_collection")}
    text = f"{_settings_table(settings)}\n\n{_disk_line(site)}"
    context.terminal.result(document, text)


@command(
    "site set",
    "change settings of a running gateway",
    argument(
        "settings",
        metavar="NAME=VALUE",
        nargs="+",
        type=setting,
        help="such as max_replicas=4, max_request_size=8MiB or environment=@FILE (JSON)",
    ),
    examples=["predictd site set max_replicas=4 max_request_size=8MiB"],
)
def set_(context: Context) -> None:
    """Changes settings of a running gateway."""
    values = dict(context.arguments.settings)
    _check_names(context, values)
    settings = context.client.patch("/site/settings", values)["settings"]
    changed = [each for each in settings if each["name"] in values]
    lines = [f"{each['name']} = {_value(each)} {each['takes_effect']}." for each in changed]
    context.terminal.result({"settings": changed}, "\n".join(lines))


@command(
    "site reset",
    "reset settings to their defaults",
    argument("names", metavar="NAME", nargs="+"),
    examples=["predictd site reset max_replicas"],
)
def reset(context: Context) -> None:
    """Resets settings to their defaults."""
    names = context.arguments.names
    _check_names(context, names)
    for name in names:
        settings = context.client.delete(f"/site/settings/{name}")["settings"]
    changed = [each for each in settings if each["name"] in names]
    lines = [f"{each['name']} = {_value(each)}, the default." for each in changed]
    context.terminal.result({"settings": changed}, "\n".join(lines))


@command(
    "site models",
    "show all active models and the resources they use",
    examples=["predictd site models"],
)
def models(context: Context) -> None:
    """All active models and the resources they use."""
    found = context.client.listing("/site/models")
    nothing = "No model is active. List all models with `predictd ls`."
    text = _models_table(found) if found else nothing
    context.terminal.result({"models": found}, text)


def _check_names(context: Context, names: Iterable[str]) -> None:
    """Refuses a name that is no setting, before any is changed."""
    known = [each["name"] for each in context.client.get("/site/settings")["settings"]]
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, 1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            advice = f"{meant}list them with `predictd site show`"
            raise CommandFailed(f"{name!r} is not a setting", advice, Exit.REFUSED)


def _disk_line(site: Json) -> str:
    disk, last = site["disk"], site["last_collection"]
    warning = {
        "ok": "",
        "low": f" This is less than warn_free_disk ({mib(disk['warn_below'], 0)}).",
        "full": f" Builds are refused: min_free_disk is {mib(disk['reserve'], 0)}.",
    }[disk["level"]]
    text = f"Disk: {mib(disk['free_bytes'], 0)} free.{warning}"
    if last:
        what = f"{plural(last['removed'], 'build')}, {mib(last['bytes'])}"
        text += f" The last automatic gc removed {what} ({when(last['at'])} UTC)."
    return text


def _settings_table(settings: Sequence[Json]) -> str:
    rows = [
        (
            each["name"],
            _value(each),
            each["source"],
            each["takes_effect"] if each["changeable"] else "after a restart",
        )
        for each in settings
    ]
    return table(("SETTING", "VALUE", "FROM", "CHANGE TAKES EFFECT"), rows)


def _value(setting: Json) -> str:
    """As users type it; of variables only the names, since their values may be secrets."""
    value = setting["value"]
    if setting["name"] == "environment":
        return ", ".join(value) or "none"
    if setting["size"] and value and value % MIB == 0:
        return f"{value // MIB}MiB"
    return value if isinstance(value, str) and value else json.dumps(value)


def _models_table(models: Sequence[Json]) -> str:
    rows = [
        (
            full_name(each),
            each["status"],
            f"{each['replicas_ready']}/{each['replicas_wanted']}",
            f"{each['used']['cpu']:.2f} of {each['requested']['cpu']:g}",
            f"{each['used']['memory_bytes'] / MIB:.0f} of "
            f"{mib(each['requested']['memory_bytes'], 0)}",
            f"{each['used']['gpus']:.2f} of {each['requested']['gpus']}",
            each["waiting"],
            each["build_number"],
            each["deployer"].get("username", ""),
            when(each["deployed_at"]),
        )
        for each in models
    ]
    asked = ("CPU", "MEMORY", "GPUS", "WAITING", "BUILD", "BY", "DEPLOYED (UTC)")
    return table(("MODEL", "STATUS", "REPLICAS", *asked), rows)

"""The verb unit: prints or writes the systemd units that run this installation.

All paths in them are absolute. Of the environment only PREDICTD_DATA is read, since the service
will not have the environment of this command.
"""

import os
import pwd
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.options import HOST_AND_PORT

if TYPE_CHECKING:
    from gateway.settings import Settings


@command(
    "unit",
    "print or write systemd units for this gateway",
    *HOST_AND_PORT,
    argument(
        "--allow-plain-http",
        action="store_const",
        const=True,
        help="listen on other addresses than loopback without TLS",
    ),
    argument("--config", metavar="FILE", help="TOML file of settings, read at each start"),
    argument("--user", metavar="NAME", help="account to run as (default: you)"),
    argument("--to", metavar="DIR", help="write the units there, such as to /etc/systemd/system"),
    local=True,
    examples=["predictd unit", "predictd unit --user models --to /etc/systemd/system"],
    group=Group.GATEWAY,
)
def unit(context: Context) -> None:
    """Prints the units, or writes them with `--to`."""
    from gateway.http.host_check import check_listen_address
    from gateway.operations.systemd_units import UnitOptions, unit_files
    from gateway.settings import SettingsError, load

    arguments = context.arguments
    config = Path(arguments.config).absolute() if arguments.config else None
    flags = {"data": _data(context), "host": arguments.host, "port": arguments.port}
    flags |= {"allow_plain_http": arguments.allow_plain_http}
    try:
        settings = load(flags, config, environment={})
        address = _address(settings)
        check_listen_address(settings, address)  # else the unit would not start
        files = unit_files(
            UnitOptions(
                command=[*_predictd(), *_flags(settings, config)],
                host=address,
                port=settings.port,
                data=str(settings.data),
                shutdown_grace=settings.shutdown_grace,
                user=arguments.user or "",
                system=_is_system(context),
            )
        )
    except (SettingsError, ValueError) as error:
        raise CommandFailed(str(error), "correct it and try again", Exit.USAGE) from error
    if not arguments.to:
        text = "\n".join(f"# {name}\n{content}" for name, content in files.items())
        context.terminal.result(files, text.rstrip("\n"))
        return
    written = _write(Path(arguments.to), files)
    systemctl = "systemctl" if _is_system(context) else "systemctl --user"
    advice = f"Start them: {systemctl} daemon-reload && {systemctl} enable --now {' '.join(files)}"
    context.terminal.result({"written": written}, "\n".join([*written, advice]))


def _is_system(context: Context) -> bool:
    return bool(context.arguments.user) or os.geteuid() == 0


def _data(context: Context) -> str | None:
    """The data folder, if one is named or the service has another account than this command."""
    arguments, named = context.arguments, context.environment.get("PREDICTD_DATA")
    if arguments.data or named:
        return str(context.data)
    if not arguments.user or arguments.config:
        return None
    try:
        home = pwd.getpwnam(arguments.user).pw_dir
    except KeyError:
        raise CommandFailed(
            f"account {arguments.user!r} does not exist", "create it, or name another", Exit.USAGE
        ) from None
    return f"{home}/.local/share/predictd"


def _predictd() -> list[str]:
    """The command that starts this installation from any folder."""
    script = Path(sys.executable).with_name("predictd")
    return [str(script)] if script.exists() else [sys.executable, "-m", "gateway.cli"]


def _flags(settings: "Settings", config: Path | None) -> list[str]:
    flags = ["serve", "--data", str(settings.data)]
    flags += ["--host", settings.host, "--port", str(settings.port)]
    flags += ["--allow-plain-http"] if settings.allow_plain_http else []
    return [*flags, "--config", str(config)] if config else flags


def _address(settings: "Settings") -> str:
    """The address of the host in the settings: systemd accepts no names."""
    if not settings.port:
        raise ValueError("port 0 is another port at each start, so a unit needs a fixed port")
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"host {settings.host!r} has no address: {error.strerror}") from error
    return str(found[0][4][0])


def _write(folder: Path, files: dict[str, str]) -> list[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
    except OSError as error:
        raise CommandFailed(
            f"cannot write the units to {folder}: {error.strerror}",
            "leave out --to to print them instead",
            Exit.FAILED,
        ) from error
    return [str(folder / name) for name in files]

"""The systemd units of one gateway: a socket that stays open, and the service behind it.

Text only: what is asked for goes in, two unit files come out. Each line that is not obvious says in
the unit itself why it is there, for whoever edits it later.
"""

import re
from collections.abc import Sequence

import msgspec

SERVICE, SOCKET = "predictd.service", "predictd.socket"

# Beyond the grace: replicas and builds are ended, the store is closed. Promised are 3 seconds.
_AFTER_GRACE = 10
# A stuck gateway is started anew after so many seconds.
_WATCHDOG = 30

_SERVICE = """\
[Unit]
Description=predictd, a server of models
Requires={socket}
After={socket} network-online.target
Wants=network-online.target
# What keeps it from starting may pass; it is tried once a second, for ever.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
# Reads the certificate again, and opens the access log again.
ExecReload=/bin/kill -HUP $MAINPID
{account}WorkingDirectory=/
Restart=on-failure
RestartSec=1s
# A setting that is wrong does not get right by itself.
RestartPreventExitStatus=2
# It tells only while its loop, its reactor and its store are alive.
WatchdogSec={watchdog}s
TimeoutStartSec=5min
TimeoutStopSec={stop}s
# The gateway alone is told to stop, since it lets its replicas finish; what is left is killed.
KillMode=mixed
# It limits its models by cgroups of its own; one that is out of memory must not end the others.
Delegate=yes
OOMPolicy=continue
LimitNOFILE=524288
LimitCORE=0
UMask=0077
# Not added on purpose: RestrictNamespaces, SystemCallFilter, PrivateUsers, ProtectProc,
# ProtectKernelTunables, ProtectKernelLogs, ProtectControlGroups, PrivateDevices. They would take
# from the gateway what it needs to confine its models.
{hardening}
[Install]
WantedBy={target}
Also={socket}
"""
# Of a system unit. CAP_SYS_ADMIN and the like stay: as root it confines models by namespaces.
_HARDENING = """\
ProtectSystem=full
ReadWritePaths=-{data}
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_RAWIO CAP_SYSLOG
"""
_SOCKET = """\
[Unit]
Description=The socket of predictd, which stays open while the gateway is restarted

[Socket]
ListenStream={address}
Backlog=4096

[Install]
WantedBy=sockets.target
"""


class UnitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the units are to say. `user` is the account of a system unit, root's if empty;
    `system` is false for the units of a user's own manager (`systemctl --user`)."""

    command: Sequence[str]
    host: str
    port: int
    data: str
    shutdown_grace: float
    user: str
    system: bool


def unit_files(wish: UnitOptions) -> dict[str, str]:
    """The content of both files, by name. `wish.host` is an address, not a name."""
    address = f"[{wish.host}]" if ":" in wish.host else wish.host
    hardening = _HARDENING.format(data=_quoted(wish.data)) if wish.system else ""
    service = _SERVICE.format(
        socket=SOCKET,
        command=" ".join(_quoted(part).replace("$", "$$") for part in wish.command),
        account=f"User={_quoted(wish.user)}\n" if wish.system and wish.user else "",
        watchdog=_WATCHDOG,
        stop=round(wish.shutdown_grace) + _AFTER_GRACE,
        hardening=hardening,
        target="multi-user.target" if wish.system else "default.target",
    )
    return {SERVICE: service, SOCKET: _SOCKET.format(address=f"{address}:{wish.port}")}


def _quoted(text: str) -> str:
    """As systemd.syntax(7) and systemd.unit(5) have it; `%` begins a specifier there."""
    if not text.isprintable():
        raise ValueError(f"{text!r} has a character in it that no unit can have")
    text = text.replace("%", "%%")
    if re.fullmatch(r"[\w/.:,+=@%$~-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

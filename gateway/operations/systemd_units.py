"""The systemd units of one gateway: a socket that stays open, and the service behind it.

Text only: options go in, two unit files come out. Each line that is not obvious has a comment in
the unit itself, for those who edit the unit later.
"""

import re
from collections.abc import Sequence

import msgspec

SERVICE, SOCKET = "predictd.service", "predictd.socket"

# Seconds beyond the grace: replicas and builds end, the store is closed. 3 seconds suffice.
_AFTER_GRACE = 10
# A stuck gateway is restarted after this many seconds.
_WATCHDOG = 30

_SERVICE = """\
[Unit]
Description=predictd, a server of models
Requires={socket}
After={socket} network-online.target
Wants=network-online.target
# The cause of a failed start may pass, so it is retried once a second, forever.
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
# A retry does not correct a wrong setting.
RestartPreventExitStatus=2
# It notifies the watchdog only while its loop, its reactor and its store are alive.
WatchdogSec={watchdog}s
TimeoutStartSec=5min
TimeoutStopSec={stop}s
# Only the gateway gets SIGTERM, since its replicas finish their requests; what is left is killed.
KillMode=mixed
# It limits its models by its own cgroups; one that is out of memory must not end the others.
Delegate=yes
OOMPolicy=continue
LimitNOFILE=524288
LimitCORE=0
UMask=0077
# Left out on purpose: RestrictNamespaces, SystemCallFilter, PrivateUsers, ProtectProc,
# ProtectKernelTunables, ProtectKernelLogs, ProtectControlGroups, PrivateDevices. With them the
# gateway could not confine its models.
{hardening}
[Install]
WantedBy={target}
Also={socket}
"""
# Only in a system unit. CAP_SYS_ADMIN and the like stay: as root it confines models by namespaces.
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
    """`user` is the account of a system unit, root if empty; `system` is false for the units of a
    user's own manager (`systemctl --user`)."""

    command: Sequence[str]
    host: str
    port: int
    data: str
    shutdown_grace: float
    user: str
    system: bool


def unit_files(options: UnitOptions) -> dict[str, str]:
    """The content of both files by name. `options.host` is an address, not a host name."""
    address = f"[{options.host}]" if ":" in options.host else options.host
    hardening = _HARDENING.format(data=_quoted(options.data)) if options.system else ""
    service = _SERVICE.format(
        socket=SOCKET,
        command=" ".join(_quoted(part).replace("$", "$$") for part in options.command),
        account=f"User={_quoted(options.user)}\n" if options.system and options.user else "",
        watchdog=_WATCHDOG,
        stop=round(options.shutdown_grace) + _AFTER_GRACE,
        hardening=hardening,
        target="multi-user.target" if options.system else "default.target",
    )
    return {SERVICE: service, SOCKET: _SOCKET.format(address=f"{address}:{options.port}")}


def _quoted(text: str) -> str:
    """Quoted for systemd.syntax(7) and systemd.unit(5), where `%` starts a specifier."""
    if not text.isprintable():
        raise ValueError(f"{text!r} has a character that a unit cannot have")
    text = text.replace("%", "%%")
    if re.fullmatch(r"[\w/.:,+=@%$~-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

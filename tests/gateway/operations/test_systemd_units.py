"""The units: systemd accepts them, and they say what keeps models and gateway apart at the end."""

import configparser
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from gateway.operations.systemd_units import SERVICE, SOCKET, UnitOptions, unit_files

WISH = UnitOptions(
    command=["/bin/true", "serve", "--data", "/srv/data"],
    host="127.0.0.1",
    port=8080,
    data="/srv/data",
    shutdown_grace=3.0,
    user="",
    system=True,
)
ODD = 'a "b" \\c 100% $HOME é'


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=["="])
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"system": False},
        {"user": "daemon", "host": "::1"},
        {"command": ["/bin/true", ODD], "data": f"/srv/{ODD}"},
    ],
)
def test_systemd_takes_them(tmp_path: Path, changes: dict[str, object]) -> None:
    """`systemd-analyze verify` accepts both files, with any options."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for name, content in unit_files(msgspec.structs.replace(WISH, **changes)).items():
        (tmp_path / name).write_text(content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / SERVICE), str(tmp_path / SOCKET)],
        env={**os.environ, "SYSTEMD_LOG_COLOR": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Where systemd does not run, units that it makes itself are not there.
    said = [line for line in done.stderr.splitlines() if "predictd" in line]
    assert (done.returncode, said) == (0, [])


def test_what_the_service_says() -> None:
    """It is told of readiness and of life, ends the gateway first and the rest after a time that
    is longer than the grace, and leaves cgroups to it."""
    service = parsed(unit_files(msgspec.structs.replace(WISH, shutdown_grace=20.0))[SERVICE])
    told = service["Service"]
    assert (told["Type"], told["NotifyAccess"]) == ("notify", "main")
    assert told["WatchdogSec"] == "30s"
    assert (told["KillMode"], told["TimeoutStopSec"]) == ("mixed", "30s")
    assert (told["Delegate"], told["OOMPolicy"]) == ("yes", "continue")
    assert (told["Restart"], told["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert service["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_socket() -> None:
    """It listens where the gateway would; IPv6 in brackets."""
    assert parsed(unit_files(WISH)[SOCKET])["Socket"]["ListenStream"] == "127.0.0.1:8080"
    six = msgspec.structs.replace(WISH, host="::1")
    assert parsed(unit_files(six)[SOCKET])["Socket"]["ListenStream"] == "[::1]:8080"


def test_what_bubblewrap_needs_is_left() -> None:
    """Nothing in the unit takes namespaces, mounts or a whole /proc from the gateway."""
    keys = set(parsed(unit_files(WISH)[SERVICE])["Service"])
    assert not keys & {
        "RestrictNamespaces",
        "SystemCallFilter",
        "PrivateUsers",
        "ProtectProc",
        "ProcSubset",
        "ProtectKernelTunables",
        "ProtectKernelLogs",
        "ProtectControlGroups",
        "PrivateDevices",
        "NoNewPrivileges",
    }


def test_odd_words() -> None:
    """Blanks, quotes, backslashes, `%` and `$` reach the gateway as they were typed; what no unit
    can have is refused."""
    wish = msgspec.structs.replace(WISH, command=["/bin/true", ODD, "50%", "$x"])
    line = parsed(unit_files(wish)[SERVICE])["Service"]["ExecStart"]
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]
    assert words == ["/bin/true", ODD, "50%", "$x"]
    with pytest.raises(ValueError, match="a unit cannot have"):
        unit_files(msgspec.structs.replace(WISH, data="/srv/a\nb"))


def test_whose_manager_it_is_for() -> None:
    """A system unit may name an account and is hardened; a user's own has neither."""
    system = parsed(unit_files(msgspec.structs.replace(WISH, user="models"))[SERVICE])
    assert (system["Service"]["User"], system["Install"]["WantedBy"]) == (
        "models",
        "multi-user.target",
    )
    own = parsed(unit_files(msgspec.structs.replace(WISH, system=False))[SERVICE])
    assert own["Install"]["WantedBy"] == "default.target"
    assert not {"User", "ProtectSystem", "CapabilityBoundingSet"} & set(own["Service"])

"""The kinds of settings: bounds of numbers, the unit of sizes, and checks of texts.

A kind is an annotated type. msgspec holds a number to its bounds; `Kind` says the rest.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec

MIB = 1024 * 1024

# The largest integer that every program that reads JSON can hold.
LARGEST = 1 << 53
_PUBLIC_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/.*)?)",
    re.IGNORECASE,
)
# All variables of a site, a project or a deployment together, as JSON.
_VARIABLES_BYTES = 256 * 1024

_UNITS = {"": 1, "b": 1, "k": 1000, "m": 1000**2, "g": 1000**3}
_UNITS |= {"kib": 1024, "mib": MIB, "gib": 1024 * MIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def parse_size(text: str) -> int:
    """Bytes: "5MiB", "2 GB", "1000". Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is not a size such as 512MiB or 2GiB")
    return int(min(float(match[1]) * _UNITS[match[2].lower()], 2.0 * LARGEST))


def check_variables(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Raises ValueError naming an environment variable that no process could have, or if they are
    too large together."""
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is not the name of a variable")
        if name in _reserved():
            raise ValueError(f"{name} is set by the shell itself: choose another name")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{name} has a character that no variable can have")
    if (size := len(msgspec.json.encode(variables))) > _VARIABLES_BYTES:
        raise ValueError(
            f"the variables take {size} bytes, but at most {_VARIABLES_BYTES} are kept"
        )
    return variables


def _reserved() -> Collection[str]:
    # Imported here because the command line starts faster without the workers.
    from workers.confinement import RESERVED

    return RESERVED


def _check_public_url(value: str) -> str:
    """Without a slash at its end, and without the default port."""
    if not value:
        return ""
    match = _PUBLIC_URL.fullmatch(value)
    if match is None:
        raise ValueError("expected a URL like https://models.example.org, or one with a port")
    if match["path"] not in ("", "/"):
        raise ValueError(
            "a path is not supported, because clients of models request /model at the root of a "
            "server: give the gateway a host name or a port of its own"
        )
    scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
    if port and not 0 < int(port) <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    default = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" + (f":{port}" if port and port != default else "")


def _check_networks(values: list[str]) -> list[str]:
    return [_check_network(each.strip()) for each in values]


def _check_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; a proxy is like 10.0.0.5, a network like 10.0.0.0/24") from None
    if not network.prefixlen:
        raise ValueError(f"{text} contains all addresses, so every client could claim another's")
    return str(network)


def _check_folders(values: list[str]) -> list[str]:
    for folder in values:
        if not Path(folder).is_absolute() or not Path(folder).is_dir():
            raise ValueError(f"{folder} is not the absolute path of a folder")
    return values


class Kind(msgspec.Struct, frozen=True):
    """How the text of a setting is read: as a size such as "5MiB", or split by `separator`. `check`
    returns the value in its final form, or raises ValueError saying what is allowed."""

    is_size: bool = False
    separator: str = ""
    check: Callable[[Any], Any] | None = None


class TakesEffect(StrEnum):
    """When a change of a setting takes effect."""

    IMMEDIATELY = "immediately"
    NEW_REQUESTS = "for new requests"
    NEW_REPLICAS = "for new replicas"
    NEW_BUILDS = "for new builds"
    NEW_DEPLOYMENTS = "for new builds and deployments"
    RESTART = "after a restart"  # so it cannot be changed at run time


Count = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
CountOrZero = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Amount = Annotated[float, msgspec.Meta(ge=1e-3, le=LARGEST)]
AmountOrZero = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Bytes = Annotated[int, msgspec.Meta(ge=1, le=LARGEST), Kind(is_size=True)]
BytesOrZero = Annotated[int, msgspec.Meta(ge=0, le=LARGEST), Kind(is_size=True)]
# One row of metrics has to fit several times.
MetricsBytes = Annotated[int, msgspec.Meta(ge=MIB, le=LARGEST), Kind(is_size=True)]
# They are deleted with their model, in one transaction.
RequestRows = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
PublicUrl = Annotated[str, Kind(check=_check_public_url)]
Names = Annotated[list[str], Kind(separator=",")]
Networks = Annotated[list[str], Kind(separator=",", check=_check_networks)]
Folders = Annotated[list[str], Kind(separator=":", check=_check_folders)]
Variables = Annotated[dict[str, str], Kind(check=check_variables)]

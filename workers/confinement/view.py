"""What a process sees of the machine: a plain value, decided by the code that starts it."""

from pathlib import Path
from typing import Literal, get_args

import msgspec

# The networks that a process can reach. none: a loopback of its own. outward: also other machines,
# but nothing on this one. machine: all that the machine reaches. listen: the same, and it may
# listen on TCP ports.
Network = Literal["none", "outward", "machine", "listen"]
NETWORKS: tuple[Network, ...] = get_args(Network)

# The path of the project where namespaces can show it there, and the user with that home.
HOME = Path("/home/cdsw")
TMP = Path("/tmp")
USER = "cdsw"


class SandboxView(msgspec.Struct, frozen=True, kw_only=True):
    """What one process tree sees beside the system's own programs and libraries.

    `home`, its working folder, is writable and stands at /home/cdsw; `tmp` stands at /tmp. `read`,
    `write` and `prefix`, an interpreter's folder, keep their paths. `built` is the folder in which
    a build was made without mounts: absolute paths that its script wrote lead there. With mounts
    `home` stands there too; without, the tree may read the folder. Trees of equal `identity` could
    interfere with each other; the gateway assigns the numbers. With `unix_sockets`, which no
    project's code has, the tree may make UNIX sockets at every level. `devices` are nodes
    that it may use beside those that every process gets; they keep their paths.
    """

    home: Path
    tmp: Path
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    prefix: Path | None = None
    built: Path | None = None
    network: Network = "machine"
    identity: int = 0
    unix_sockets: bool = False
    devices: tuple[Path, ...] = ()

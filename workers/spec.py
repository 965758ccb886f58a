"""What a pool and its replicas are made from: plain values, decided by the gateway."""

from pathlib import Path

import msgspec

from workers.confinement.view import Network
from workers.limits import Limits
from workers.sizes import MIB


class Crns(msgspec.Struct, frozen=True):
    """The names under which metrics are kept, as clients know them. A probe has none."""

    model: str = ""
    build: str = ""
    deployment: str = ""


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One replica: which function of which file, in which environment.

    `code` is the sealed folder that each replica gets a private copy of; `environment` the
    virtualenv beside it, and `prefix` the folder of the interpreter that it was made from: the
    environment's own statement about it is not trusted. Where the build was made without mounts,
    `built` is the folder that it had then (`SandboxView`). `variables` win over the ones set here,
    but not over the tree mark; a PATH among them comes behind the environment's own. Those of
    `name_variables` get the replica's name. Where `raw` is set the function gets a request as
    bytes, unread. Where models are confined, `identity` says whose they are (`SandboxView`), and
    `network` what they reach of it. `crns` are what the replica says of its predictions. Times in
    seconds, sizes in bytes.
    """

    code: Path
    environment: Path
    prefix: Path | None = None
    built: Path | None = None
    file: str
    function: str
    model_root: str = ""
    raw: bool = False
    variables: dict[str, str] = {}
    name_variables: tuple[str, ...] = ()
    start_timeout: float = 60.0
    max_response_size: int = 32 * MIB
    limits: Limits = Limits()
    network: Network = "machine"
    identity: int = 0
    crns: Crns = Crns()


class ExperimentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a script to its end: which file of a build, with which arguments.

    `folder` is the run's own: in it the working copy of `code` stands while the script runs; what
    is in the `kept` folders in it, which the script may write, stays. The other fields are as in
    `ReplicaSpec`.
    """

    code: Path
    environment: Path
    prefix: Path | None = None
    built: Path | None = None
    script: str
    arguments: tuple[str, ...] = ()
    folder: Path
    kept: tuple[Path, ...] = ()
    variables: dict[str, str] = {}
    limits: Limits = Limits()
    network: Network = "machine"
    identity: int = 0


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas that serve one deployment, and how requests wait for them.

    `name` is what replica names begin with. A request waits at most `request_timeout` seconds for
    a replica and then runs at most as long. `start_tries` failed starts in a row of one replica,
    before the pool was ever ready, make it fail; 0 means: go on trying. A replica that was given
    `recycle_after_requests` requests, or whose process has grown above `recycle_above_memory`
    resident bytes, is replaced when its successor is ready; 0 means never.
    """

    name: str
    replica: ReplicaSpec
    log_folder: Path
    replicas: int = 1
    request_timeout: float = 30.0
    restart_on_exception: bool = True
    start_tries: int = 3
    recycle_after_requests: int = 0
    recycle_above_memory: int = 0
    max_queued_requests: int = 1000
    max_queued_bytes: int = 64 * MIB

"""The specifications of pools, replicas and experiments: plain values, decided by the gateway."""

from pathlib import Path
from typing import Literal

import msgspec

from workers.confinement.view import Network
from workers.limits import Limits
from workers.sizes import MIB

# In which a model or script is written: what runs it.
Language = Literal["python", "r"]


class Crns(msgspec.Struct, frozen=True):
    """The names under which the gateway keeps metrics, as clients know them. A probe has none."""

    model: str = ""
    build: str = ""
    deployment: str = ""


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One replica: which function of which file, in which environment.

    `code` is the sealed folder; each replica gets a private copy. `environment` is the virtualenv
    beside it, whose `library` has packages of R, and `prefix` the folder of the interpreter that it
    was made from: the environment's own statement about it is not trusted. `language` says what
    runs the file. Where the build was made without mounts, `built` is the folder that it had then
    (`SandboxView`). `variables` win over the gateway's, but not over the tree mark; a PATH among
    them comes after the environment's own. The variables named in
    `name_variables` get the replica's name. With `raw` the function gets a request as undecoded
    bytes. Where models are confined, `identity` names their owner (`SandboxView`), and `network`
    what they reach. `gpus` is how many whole GPUs it holds. The replica reports `crns` with its
    predictions. Times are in seconds, sizes in bytes.
    """

    code: Path
    environment: Path
    prefix: Path | None = None
    built: Path | None = None
    language: Language = "python"
    file: str
    function: str
    model_root: str = ""
    raw: bool = False
    variables: dict[str, str] = {}
    name_variables: tuple[str, ...] = ()
    gpus: int = 0
    start_timeout: float = 60.0
    max_response_size: int = 32 * MIB
    limits: Limits = Limits()
    network: Network = "machine"
    identity: int = 0
    crns: Crns = Crns()


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """Which files that a script wrote into its working copy are moved to `folder` at its end: those
    that match one of the `patterns`, up to a number and bytes. Folders named in `left_out`, such as
    caches, are not looked into."""

    folder: Path
    patterns: tuple[str, ...]
    most_files: int
    most_bytes: int
    left_out: frozenset[str] = frozenset()


class ExperimentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a script to its end: which file of a build, with which arguments.

    `folder` is the run's own. It has the working copy of `code` while the script runs. The script
    may write to its `kept` folders, whose content stays; the folder of `keep` is one of them. The
    other fields are as in `ReplicaSpec`.
    """

    code: Path
    environment: Path
    prefix: Path | None = None
    built: Path | None = None
    language: Language = "python"
    script: str
    arguments: tuple[str, ...] = ()
    folder: Path
    kept: tuple[Path, ...] = ()
    keep: Keep | None = None
    variables: dict[str, str] = {}
    limits: Limits = Limits()
    gpus: int = 0
    network: Network = "machine"
    identity: int = 0


class ShellSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One program in a terminal: which command, in a working copy of a build.

    `folder` is the program's own and has the working copy of `code` while it runs. The other fields
    are as in `ReplicaSpec`.
    """

    code: Path
    environment: Path
    prefix: Path | None = None
    built: Path | None = None
    language: Language = "python"
    command: tuple[str, ...]
    folder: Path
    variables: dict[str, str] = {}
    limits: Limits = Limits()
    gpus: int = 0
    network: Network = "machine"
    identity: int = 0


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas that serve one deployment, and how requests wait for them.

    Replica names begin with `name`. A request waits at most `request_timeout` seconds for a replica
    and then runs at most as long. The pool fails after `start_tries` failed starts in a row of one
    replica, before it was ever ready; 0 means no limit. A replica is replaced, when its successor
    is ready, after `recycle_after_requests` requests or above `recycle_above_memory` resident
    bytes; 0 means never. The pool is ready when as many as `first_ready` are, 0 for all.
    """

    name: str
    replica: ReplicaSpec
    log_folder: Path
    replicas: int = 1
    first_ready: int = 0
    request_timeout: float = 30.0
    restart_on_exception: bool = True
    start_tries: int = 3
    recycle_after_requests: int = 0
    recycle_above_memory: int = 0
    max_queued_requests: int = 1000
    max_queued_bytes: int = 64 * MIB

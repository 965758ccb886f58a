"""What a build is asked for, and what the builder needs from others to make it.

The builder starts no process for a project by itself: it is given a `Run`, so that limits,
isolation and the killing of process trees have one home. It does not know replicas either:
it is given a `Probe`. A `Log` is anything that takes lines.
"""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from builder.interpreters import Interpreter

DEFAULT_SCRIPT = "cdsw-build.sh"


class Snapshot(Struct, frozen=True):
    """One commit of a project in our own bare git repository."""

    store: Path
    commit: str


class SnapshotLimits(Struct, frozen=True, kw_only=True):
    """What one snapshot may have and take. Its `.gitignore` files are bounded too, since git reads
    copies of them."""

    entries: int = 300_000  # files and folders; about 900 bytes of memory each
    ignore_file_bytes: int = 64 * 1024
    ignore_total_bytes: int = 1024 * 1024
    ignore_files: int = 2000
    ignore_seconds: float = 20.0  # for all questions that git is asked about one project


class BuildSpec(Struct, frozen=True, kw_only=True):
    """One build to make: of a model, or, without `file` and `function`, of a project in which
    scripts are to be run.

    `folder` is where the build is made and stays, since a virtual environment cannot be
    moved. `home` is where programs of the build see the project. `script` and `model_root` are
    relative to the project's root, `file` to `model_root`. `variables` are for the script only.
    `time_limit` is in seconds and covers the whole build.
    """

    snapshot: Snapshot
    folder: Path
    home: Path
    interpreter: Path
    file: str = ""
    function: str = ""
    model_root: str = ""
    script: str = DEFAULT_SCRIPT
    variables: dict[str, str] = {}
    time_limit: float
    pip_cache: Path

    @property
    def code(self) -> Path:
        """The project's files as of the snapshot, plus what the script adds."""
        return self.folder / "code"

    @property
    def root(self) -> Path:
        """The current directory of the model."""
        return self.code / self.model_root

    @property
    def virtualenv(self) -> Path:
        """The build's own Python."""
        return self.folder / "environment"

    @property
    def tmp(self) -> Path:
        """Gone once the build is sealed."""
        return self.folder / "tmp"


class SandboxPaths(Struct, frozen=True, kw_only=True):
    """Where a project's program works: `home`, which it may change, a folder for temporary files,
    what else it may `read` and `write`, and `prefix`, the folder of the interpreter it needs. With
    `unix_sockets` it makes those, which code of a project need not."""

    home: Path
    tmp: Path
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    prefix: Path | None = None
    unix_sockets: bool = False


class Log(Protocol):
    """Takes one line at a time, without its line break."""

    def write(self, line: str) -> None: ...


class Run(Protocol):
    """Runs one command to its end.

    In a `place` it is somebody else's program, and need see nothing but that and the system; HOME
    and TMPDIR say where it is. Without one it is ours. Standard output and error go to `log`,
    standard input is empty, and its other variables are exactly the ones given. Returns the exit
    status, negative for a signal; raises
    TimeoutError past `time_limit` seconds. However it ends, cancellation included, no
    process of the command's tree is left.
    """

    async def __call__(
        self,
        command: list[str],
        *,
        cwd: Path,
        place: SandboxPaths | None = None,
        variables: dict[str, str],
        log: Log,
        time_limit: float,
    ) -> int: ...


class Probe(Protocol):
    """Tries out a finished, not yet sealed build; raises `errors.ProbeFailed`."""

    async def __call__(self, spec: BuildSpec, interpreter: Interpreter) -> None: ...

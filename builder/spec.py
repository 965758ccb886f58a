"""What a build is requested with, and what the builder needs from its caller.

The builder starts no process of a project itself: it is given a `Run`, so that limits, isolation
and the killing of process trees are in one place. It does not know replicas: it is given a `Probe`.
A `Log` is anything that takes lines.
"""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from builder.interpreters import Interpreter

DEFAULT_SCRIPT = "cdsw-build.sh"


class Snapshot(Struct, frozen=True):
    """One commit of a project in the gateway's bare git repository."""

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
    """One build to make: of a model, or, without `file` and `function`, of a project whose scripts
    are run.

    The build is made in `folder`, and its environment in `environment`, beside it. Both stay there:
    a virtual environment cannot be moved (gotcha G7 in README). `project` is the id of the project:
    others do not share the environment.
    `home` is the path at which programs of the build see the project. `script` and `model_root` are
    relative to the project's root, `file` to `model_root`. `variables` are for the script only,
    which runs in `network`; `variables_id` is equal for equal ones, apart from the build's id. A
    `fresh` build uses nothing that was made before. Where `interpreter` is R, `python` is the
    environment's Python: the script has both. The environment starts as a copy of `base`, the
    virtual environment of a runtime; packages take their bytecode from `bytecode`, a sealed one of
    the same project and interpreter. `lock` is the text of the lock that a rebuild has to obey; ""
    for a new build. `time_limit` is in seconds and covers the whole build. Sealed files are shared
    through `file_store`.
    """

    project: str
    snapshot: Snapshot
    folder: Path
    environment: Path
    home: Path
    interpreter: Path
    python: Path | None = None
    base: Path | None = None
    bytecode: Path | None = None
    file: str = ""
    function: str = ""
    model_root: str = ""
    script: str = DEFAULT_SCRIPT
    network: str = "machine"
    variables: dict[str, str] = {}
    variables_id: str = ""
    fresh: bool = False
    lock: str = ""
    time_limit: float
    pip_cache: Path
    file_store: Path

    @property
    def code(self) -> Path:
        """The project's files as of the snapshot, and those that the script adds."""
        return self.folder / "code"

    @property
    def root(self) -> Path:
        """The current directory of the model."""
        return self.code / self.model_root

    @property
    def virtualenv(self) -> Path:
        """The Python of the environment."""
        return self.environment / "environment"

    @property
    def python_program(self) -> Path:
        """The Python that the environment is made from."""
        return self.python or self.interpreter

    @property
    def tmp(self) -> Path:
        """Temporary files, removed before the build is sealed."""
        return self.folder / "tmp"


class SandboxPaths(Struct, frozen=True, kw_only=True):
    """The paths of a sandboxed program: `home`, which it may change, `tmp` for temporary files,
    what else it may `read` and `write`, and `prefix`, the folder of its interpreter.
    `unix_sockets` allows such sockets, which code of a project does not need."""

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

    With `paths` the program is untrusted: it sees only those paths and the system, and HOME and
    TMPDIR name them. Without `paths` it is a program of predictd. Standard output and error go to
    `log`, standard input is empty, and its other variables are exactly `variables`.

    Returns the exit status, negative for a signal. Raises TimeoutError after `time_limit` seconds.
    However the command ends, cancellation included, no process of its tree is left.
    """

    async def __call__(
        self,
        command: list[str],
        *,
        cwd: Path,
        paths: SandboxPaths | None = None,
        variables: dict[str, str],
        log: Log,
        time_limit: float,
    ) -> int: ...


class Probed(Struct, frozen=True):
    """A probe that succeeded, or was not needed. Equal `conditions` mean an equal probe; "" is
    equal to none. `same_as` names the earlier build whose probe had them."""

    conditions: str = ""
    same_as: str = ""


class Probe(Protocol):
    """Starts the model of a finished build before it is sealed, unless the same was started before.
    Raises `errors.ProbeFailed`."""

    async def __call__(self, spec: BuildSpec, interpreter: Interpreter) -> Probed: ...

"""What the store remembers: frozen records, one per noun.

A record is a fact as of when it was read; the table of its noun changes it. The store itself sets
`number`, `created_at`, `updated_at` and the times named after a status (`built_at`, `deployed_at`,
`started_at`, ...), and ignores their values in a new record.

Units: CPU in thousandths of a core, memory in MiB, times as UTC text whose order is that of time.
"""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from msgspec import Struct, field

Visibility = Literal["private", "public"]
CreationStatus = Literal["creating", "success", "failure"]
BuildStatus = Literal["pending", "queued", "building", "built", "build failed", "timedout"]
DeploymentStatus = Literal["pending", "deploying", "deployed", "stopping", "stopped", "failed"]
# The network that processes may use, from least to most.
Network = Literal["none", "outward", "machine", "listen"]
ExperimentStatus = Literal["queued", "running", "succeeded", "failed", "stopped"]
RuntimeStatus = Literal["building", "ready", "failed"]
StepState = Literal["waiting", "running", "done", "failed", "skipped"]
Wanted = Literal["serve", "stop"]
# The last two are not in the store: one is in a file, the other is created at each start.
KeyKind = Literal["api", "model", "legacy", "admin", "workload"]
Role = Literal["viewer", "operator", "contributor", "admin", "owner"]


def now() -> str:
    """Return the present time as records write it: `2026-11-21T02:35:00.123456Z`."""
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    """Return a time as records write it; a time without a zone is taken as UTC."""
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_id() -> str:
    """Return a new unique id: a uuid4 as text."""
    return str(uuid4())


class Record(Struct, frozen=True, kw_only=True):
    """The fields of all records. Numbers ascend by creation and are never reused."""

    id: str = field(default_factory=new_id)
    number: int = 0
    created_at: str = ""
    updated_at: str = ""


class StatefulRecord(Record, frozen=True, kw_only=True):
    """A record with a lifecycle: its status changes by events only."""

    status: str


class Project(Record, frozen=True, kw_only=True):
    """A folder with the code of models. `path` is absolute; no two projects share one."""

    name: str
    path: str
    linked: bool  # True: a folder of the user; False: a folder that predictd made and may remove
    description: str = ""
    visibility: Visibility = "private"
    template: str = ""
    git_url: str = ""
    git_ref: str = ""
    variables: bytes = b""  # encrypted; empty: none
    creation_status: CreationStatus = "success"
    creation_error: str = ""
    runtime: str = ""  # of its builds and experiments, unless they say otherwise; "": the site's
    creator: str


class Model(Record, frozen=True, kw_only=True):
    """A named function of a project, and the defaults of its next deployment."""

    project_id: str
    name: str
    key_generation: int = 1  # counts the access keys; the key itself is derived from it
    description: str = ""
    visibility: Visibility = "private"
    auth_enabled: bool = True
    cpu_millicores: int
    memory_mb: int
    nvidia_gpus: int = 0
    replicas: int
    keep_builds: int = -1  # of the latest; -1: as many as the site
    keep_builds_days: int = -1
    request_log: bool = True  # its latest requests are listed
    creator: str


class Step(Struct, frozen=True, kw_only=True):
    """One step of a build. `seconds` is how long it took, once it has ended."""

    name: str
    state: StepState
    started_at: str | None = None
    seconds: float | None = None


class Failure(Struct, frozen=True, kw_only=True):
    """Why something failed: where, in one line, in full, and what to do about it."""

    step: str
    summary: str
    problem: str
    advice: str


class StoredLock(Struct, frozen=True, kw_only=True):
    """The lock of an environment: the text of a `pylock.toml`. `id` is the same for equal texts."""

    id: str
    text: str
    packages: int


class Build(StatefulRecord, frozen=True, kw_only=True):
    """A snapshot with its environment. `number` counts from 1 in each model. `packages` counts
    those of the lock; None for a build without one."""

    model_id: str
    comment: str = ""
    file: str
    function: str
    kernel: str = ""  # as requested
    interpreter: str = ""  # the identifier that was chosen
    model_root: str = ""
    script: str = "cdsw-build.sh"
    network: Network = "machine"
    fresh: bool = False  # uses nothing that was made before
    example: str | None = None  # of a request, as JSON text
    example_output: str | None = None  # of its answer
    status: BuildStatus = "pending"
    snapshot: str = ""  # the commit, once there is one
    lock_id: str = ""
    packages: int | None = None
    steps: list[Step] = field(default_factory=list)
    failure: Failure | None = None
    cancelled_by: str = ""  # the user who cancelled it; "": it was not cancelled
    creator: str
    built_at: str | None = None
    size_bytes: int | None = None  # of its files and its environment; None: not measured


class Deployment(StatefulRecord, frozen=True, kw_only=True):
    """The request to serve one build. `wanted` is the desired state, `status` the actual one."""

    model_id: str
    project_id: str
    build_id: str | None  # None after the build was deleted
    build_number: int  # stays after the build was deleted
    cpu_millicores: int
    memory_mb: int
    nvidia_gpus: int = 0  # of each replica
    replicas: int
    network: Network = "machine"
    variables: bytes = b""  # encrypted; empty: none
    wanted: Wanted = "serve"
    status: DeploymentStatus = "pending"
    failure: Failure | None = None
    deployer: str
    deployed_at: str | None = None
    stopped_at: str | None = None


class Runtime(StatefulRecord, frozen=True, kw_only=True):
    """An interpreter with packages, which environments start from. `version` counts from 1 for each
    name. A runtime never changes: other requirements are another version."""

    name: str
    version: int = 0
    edition: str = "Standard"
    description: str = ""
    interpreter: str  # the identifier of the interpreter
    requirements: str  # the text of a requirements file
    disabled: bool = False  # True: new builds cannot use it
    status: RuntimeStatus = "building"
    failure: Failure | None = None
    creator: str
    ready_at: str | None = None

    @property
    def identifier(self) -> str:
        """The name of this version."""
        return f"{self.name}@{self.version}"


class Experiment(StatefulRecord, frozen=True, kw_only=True):
    """One run of a script to its end. `metrics` is the last value of each, once it has ended."""

    project_id: str
    comment: str = ""
    script: str
    arguments: list[str] = field(default_factory=list)
    kernel: str = ""  # as requested
    interpreter: str = ""  # the identifier that was chosen
    cpu_millicores: int
    memory_mb: int
    nvidia_gpus: int = 0
    network: Network = "machine"
    keep: list[str] = field(default_factory=lambda: ["*"])  # patterns of the files that it keeps
    status: ExperimentStatus = "queued"
    snapshot: str = ""  # the commit, once there is one
    fresh: bool = False  # uses nothing that was made before
    environment_id: str = ""  # of the environment, which builds and experiments may share
    lock_id: str = ""  # of the lock of the environment, equal to that of builds with equal packages
    packages: int | None = None  # how many the lock has
    exit_status: int | None = None  # negative for a signal
    failure: Failure | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    creator: str
    started_at: str | None = None
    ended_at: str | None = None


class RunMetric(Struct, frozen=True, kw_only=True, gc=False):
    """One value that the script of an experiment tracked; `time` in milliseconds of Unix time.

    The garbage collector skips these records: there may be a million, and none has a reference
    that could be part of a cycle.
    """

    key: str
    value: Any
    time: int


class User(Record, frozen=True, kw_only=True):
    """A user. `name` is unique, ignoring case; `password` is the argon2id hash as text."""

    name: str
    full_name: str = ""
    email: str = ""
    password: str = ""  # "": cannot sign in by password
    must_change_password: bool = False
    administrator: bool = False
    disabled: bool = False


class Key(Record, frozen=True, kw_only=True):
    """What a program of a user signs in with: `id` is the public half, `digest` the SHA-256 of the
    secret half. `expires_at` is None for a key that does not expire."""

    kind: KeyKind
    user_id: str
    digest: str
    comment: str = ""
    expires_at: str | None = None


class Session(Record, frozen=True, kw_only=True):
    """A browser that is signed in: `id` is the SHA-256 of its secret. `by_link`: it signed in by a
    link, without a password."""

    user_id: str
    address: str
    agent: str
    by_link: bool = False
    expires_at: str


class Membership(Record, frozen=True, kw_only=True):
    """The role of a user in a project. Each project has one owner."""

    project_id: str
    user_id: str
    role: Role


class AuditEntry(Record, frozen=True, kw_only=True):
    """An entry of the audit log: who did what to which object, from where, and the outcome."""

    who: str
    address: str
    request_id: str
    action: str
    object: str
    outcome: str = "done"  # or the code of the refusal
    detail: str = ""


class MetricRecord(Struct, frozen=True, kw_only=True):
    """Metrics of one prediction (`uuid`), or of several (""). `metrics` is the text of a JSON
    object; the times are those that it is about, in milliseconds of Unix time."""

    uuid: str
    start_ms: int
    end_ms: int
    metrics: str


class StoredMetricRecord(MetricRecord, frozen=True, kw_only=True):
    """A metric record as it is stored. `series` is the number of its series."""

    number: int
    series: int


class MetricSeries(Struct, frozen=True, kw_only=True):
    """All metric records of one deployment: what it serves, and how many rows and bytes they
    take."""

    number: int
    deployment_id: str
    build_id: str  # "" where it was deleted before
    model_id: str
    row_count: int
    byte_count: int

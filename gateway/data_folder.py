"""The layout of the data folder: what lies where. Paths only; each room makes what it needs."""

from hashlib import sha256
from pathlib import Path

import msgspec


class DataFolder(msgspec.Struct, frozen=True):
    """All paths beneath one data folder. `root` is a real path, without links."""

    root: Path

    @property
    def instance_id(self) -> str:
        """What marks the processes of the gateway that owns this folder."""
        return sha256(str(self.root).encode()).hexdigest()[:16]

    @property
    def database(self) -> Path:
        return self.root / "predictd.db"

    @property
    def generation(self) -> Path:
        """Which state of the database this folder has seen."""
        return self.root / "generation"

    @property
    def restoring(self) -> Path:
        """There while a restore fills this folder."""
        return self.root / "restoring"

    @property
    def ballast(self) -> Path:
        """Room that is given back when the disk is full."""
        return self.root / "ballast"

    @property
    def start_room(self) -> Path:
        """Room that is given back when a gateway starts."""
        return self.root / "start-room"

    @property
    def admin_key(self) -> Path:
        return self.root / "admin.key"

    @property
    def secret_key(self) -> Path:
        """From which the access keys of models are made and with which the database's secrets are
        encrypted; not in the database."""
        return self.root / "secret.key"

    @property
    def address(self) -> Path:
        """Written while the gateway runs: its URL, process id and certificate, for the CLI."""
        return self.root / "gateway.json"

    @property
    def builds(self) -> Path:
        return self.root / "builds"

    @property
    def replicas(self) -> Path:
        return self.root / "replicas"

    @property
    def confinement(self) -> Path:
        """A few small files by which models are confined, written again at each start."""
        return self.root / "confinement"

    @property
    def isolation(self) -> Path:
        """The level that models were confined by when this folder was served last."""
        return self.root / "isolation"

    @property
    def projects(self) -> Path:
        return self.root / "projects"

    @property
    def cgroups(self) -> Path:
        """Where the control groups of the last gateway are."""
        return self.root / "replicas.cgroups"

    @property
    def set_aside(self) -> Path:
        """What was in the way of a start and could not be read; kept until an operator looks."""
        return self.root / "set-aside"

    @property
    def set_aside_record(self) -> Path:
        """What the last start went on without, for `predictd doctor`."""
        return self.root / "set-aside.json"

    @property
    def folders(self) -> list[Path]:
        """What has to be a folder, those above before those in them."""
        return [
            self.builds,
            self.ballast,
            self.start_room,
            *self.remade,
            *(self.root / name for name in ("projects", "snapshots", "experiments")),
            *(self.root / name for name in ("cache", "cache/pip")),
            *(self.root / "logs" / name for name in ("", "builds", "models", "experiments")),
            self.examiner_logs,
        ]

    @property
    def remade(self) -> list[Path]:
        """The folders that are made again at each start, empty."""
        return [self.replicas, self.confinement, self.spool]

    @property
    def files(self) -> list[Path]:
        """What has to be a file, but for those without which nothing is served (predictd.db,
        secret.key, admin.key, lock), and `isolation`, which must not be forgotten."""
        return [self.address, self.generation, self.cgroups, self.set_aside_record]

    @property
    def entity_folders(self) -> list[Path]:
        """The folders of which each entry bears the id of a project, a model, a build or an
        experiment."""
        some_id = "-"
        of_one = (
            self.projects / some_id,
            self.snapshots(some_id),
            self.pip_cache(some_id),
            self.build_log(some_id),
            self.model_logs(some_id),
            self.experiment(some_id).folder,
            self.experiment_log(some_id),
        )
        return [path.parent for path in of_one]

    def experiment(self, experiment_id: str) -> "ExperimentFolder":
        return ExperimentFolder(self.root / "experiments" / experiment_id)

    def experiment_log(self, experiment_id: str) -> Path:
        return self.root / "logs" / "experiments" / f"{experiment_id}.log"

    def snapshots(self, project_id: str) -> Path:
        return self.root / "snapshots" / f"{project_id}.git"

    def pip_cache(self, project_id: str) -> Path:
        """One cache a project: builds of one project must not be able to poison another's."""
        return self.root / "cache" / "pip" / project_id

    def build_log(self, build_id: str) -> Path:
        return self.root / "logs" / "builds" / f"{build_id}.log"

    @property
    def spool(self) -> Path:
        """Files of forms while they come, and the like; they have no names."""
        return self.root / "spool"

    @property
    def examiner_logs(self) -> Path:
        return self.root / "logs" / "examiner"

    def model_logs(self, model_id: str) -> Path:
        return self.root / "logs" / "models" / model_id


class ExperimentFolder(msgspec.Struct, frozen=True):
    """What there is of one experiment on the disk."""

    folder: Path

    @property
    def outputs(self) -> Path:
        """The files that its script keeps."""
        return self.folder / "outputs"

    @property
    def tracked(self) -> Path:
        """A folder, since a script may write into folders only, of `metrics`."""
        return self.folder / "tracked"

    @property
    def metrics(self) -> Path:
        """A line for each value that its script tracks, until it has ended."""
        return self.tracked / "metrics.jsonl"

    @property
    def kept(self) -> tuple[Path, ...]:
        """What the script may write beside its working copy."""
        return (self.outputs, self.tracked)

"""The layout of the data folder: what is where. Paths only; each package creates its own."""

from hashlib import sha256
from pathlib import Path

import msgspec


class DataFolder(msgspec.Struct, frozen=True):
    """All paths beneath one data folder. `root` is a real path, without links."""

    root: Path

    @property
    def instance_id(self) -> str:
        """Marks the processes of the gateway that owns this folder."""
        return sha256(str(self.root).encode()).hexdigest()[:16]

    @property
    def database(self) -> Path:
        return self.root / "predictd.db"

    @property
    def generation(self) -> Path:
        """The newest state of the database that this folder has seen."""
        return self.root / "generation"

    @property
    def restoring(self) -> Path:
        """Exists while a restore fills this folder."""
        return self.root / "restoring"

    @property
    def ballast(self) -> Path:
        """Space that is released when the disk is full."""
        return self.root / "ballast"

    @property
    def start_room(self) -> Path:
        """Space that is released when a gateway starts."""
        return self.root / "start-room"

    @property
    def admin_key(self) -> Path:
        return self.root / "admin.key"

    @property
    def secret_key(self) -> Path:
        """The secret that access keys of models are derived from, and that encrypts the secrets in
        the database. Not in the database."""
        return self.root / "secret.key"

    @property
    def address(self) -> Path:
        """Exists while the gateway runs: its URL, process id and certificate, for the CLI."""
        return self.root / "gateway.json"

    @property
    def builds(self) -> Path:
        return self.root / "builds"

    @property
    def environments(self) -> Path:
        """What builds and experiments run in, each under its id."""
        return self.root / "environments"

    @property
    def shared_files(self) -> Path:
        """What sealed environments share, by the hash of its content."""
        return self.root / "files"

    @property
    def seeds(self) -> Path:
        """Empty environments, from which those of builds are copied."""
        return self.root / "seeds"

    @property
    def interpreters(self) -> Path:
        """The interpreters that were downloaded for runtimes."""
        return self.root / "interpreters"

    @property
    def replicas(self) -> Path:
        return self.root / "replicas"

    @property
    def confinement(self) -> Path:
        """A few small files that confine models, written at each start."""
        return self.root / "confinement"

    @property
    def isolation(self) -> Path:
        """The isolation level at the last start."""
        return self.root / "isolation"

    @property
    def projects(self) -> Path:
        return self.root / "projects"

    @property
    def cgroups(self) -> Path:
        """The paths of the control groups of the last gateway."""
        return self.root / "replicas.cgroups"

    @property
    def gpus(self) -> Path:
        """Which process tree holds which GPU."""
        return self.root / "replicas.gpus"

    @property
    def set_aside(self) -> Path:
        """Files that a start could not read and had to replace; an operator removes them."""
        return self.root / "set-aside"

    @property
    def set_aside_record(self) -> Path:
        """The problems of the last start, for `predictd doctor`."""
        return self.root / "set-aside.json"

    @property
    def folders(self) -> list[Path]:
        """All folders, each before the folders in it."""
        return [
            self.builds,
            self.environments,
            self.shared_files,
            self.seeds,
            self.ballast,
            self.start_room,
            *self.remade,
            self.runtimes,
            *(self.root / name for name in ("projects", "uploads", "snapshots", "experiments")),
            *(self.root / name for name in ("cache", "cache/pip")),
            *(self.root / "logs" / name for name in ("", "builds", "models", "experiments")),
            self.root / "logs" / "runtimes",
            self.parser_logs,
        ]

    @property
    def remade(self) -> list[Path]:
        """The folders that each start empties."""
        return [self.replicas, self.confinement, self.temporary_files]

    @property
    def files(self) -> list[Path]:
        """All files, except those without which nothing is served (predictd.db, secret.key,
        admin.key, lock) and `isolation`, whose content must not be lost."""
        return [self.address, self.generation, self.cgroups, self.gpus, self.set_aside_record]

    @property
    def entity_folders(self) -> list[Path]:
        """The folders whose entries are named by the id of a project, a model, a build, an
        experiment or a runtime."""
        some_id = "-"
        of_one = (
            self.projects / some_id,
            self.upload_record(some_id),
            self.snapshots(some_id),
            self.pip_cache(some_id),
            self.build_log(some_id),
            self.model_logs(some_id),
            self.experiment(some_id).folder,
            self.experiment_log(some_id),
            self.runtime(some_id),
            self.runtime_log(some_id),
        )
        return [path.parent for path in of_one]

    def experiment(self, experiment_id: str) -> "ExperimentFolder":
        return ExperimentFolder(self.root / "experiments" / experiment_id)

    def experiment_log(self, experiment_id: str) -> Path:
        return self.root / "logs" / "experiments" / f"{experiment_id}.log"

    @property
    def runtimes(self) -> Path:
        return self.root / "runtimes"

    @property
    def runtime_snapshots(self) -> Path:
        """The git store with the requirements of runtimes."""
        return self.root / "runtimes.git"

    def runtime(self, runtime_id: str) -> Path:
        return self.runtimes / runtime_id

    def runtime_log(self, runtime_id: str) -> Path:
        return self.root / "logs" / "runtimes" / f"{runtime_id}.log"

    def upload_record(self, project_id: str) -> Path:
        """What the last upload put into a project."""
        return self.root / "uploads" / project_id

    def snapshots(self, project_id: str) -> Path:
        return self.root / "snapshots" / f"{project_id}.git"

    def pip_cache(self, project_id: str) -> Path:
        """One cache for each project, so that no build can poison the cache of another project."""
        return self.root / "cache" / "pip" / project_id

    def build_log(self, build_id: str) -> Path:
        return self.root / "logs" / "builds" / f"{build_id}.log"

    @property
    def temporary_files(self) -> Path:
        """Uploads while they arrive, and the like; the files have no names."""
        return self.root / "spool"

    @property
    def parser_logs(self) -> Path:
        return self.root / "logs" / "examiner"

    def model_logs(self, model_id: str) -> Path:
        return self.root / "logs" / "models" / model_id


class ExperimentFolder(msgspec.Struct, frozen=True):
    """The files of one experiment."""

    folder: Path

    @property
    def outputs(self) -> Path:
        """The files that its script saves."""
        return self.folder / "outputs"

    @property
    def tracked(self) -> Path:
        """The folder of `metrics`, since a script may write only into folders."""
        return self.folder / "tracked"

    @property
    def metrics(self) -> Path:
        """A line for each value that its script tracks, until the script has ended."""
        return self.tracked / "metrics.jsonl"

    @property
    def kept(self) -> tuple[Path, ...]:
        """The folders that the script may write besides its working copy."""
        return (self.outputs, self.tracked)

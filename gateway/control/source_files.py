"""The files of a build or an experiment, as far as they may explain why its code does not run.

The code names the paths that are looked for, so no link that leads out of a folder is followed.
"""

from contextlib import suppress
from pathlib import Path, PurePosixPath

import msgspec

from builder import DEFAULT_SCRIPT, BuilderError, Snapshot, contents_of, resolve_beneath


class SourceFiles(msgspec.Struct, frozen=True):
    """The files of a build: `file` is below `model_root`, which is below `code`. `project` is the
    project's own folder, and `snapshot` what was taken of it, if known. `is_script` for the script
    of an experiment."""

    code: Path
    model_root: str
    file: str
    has_script: bool
    project: Path | None = None
    is_script: bool = False
    snapshot: Snapshot | None = None

    @property
    def root(self) -> str:
        """The folder that relative paths begin at, in words."""
        return "the project's root" if self.is_script else "the model's root"


def script_source(code: Path, script: str, project: Path, snapshot: Snapshot) -> SourceFiles:
    """The files of an experiment, whose script is run from the root of its project."""
    has_script = (code / DEFAULT_SCRIPT).is_file()
    return SourceFiles(
        code, "", script, has_script, project=project, is_script=True, snapshot=snapshot
    )


def rule_for(source: SourceFiles, path: PurePosixPath) -> str:
    """The line of the .gitignore that kept the path out of the snapshot, "" if none did."""
    if source.snapshot is None:
        return ""
    with suppress(BuilderError):
        return contents_of(source.snapshot).rule_for(str(path))
    return ""


def own_path(path: str, source: SourceFiles) -> str:
    """The path of a file of the build that code opens by its place in another copy of the project,
    as in a home folder: the longest end of the path that the build has."""
    root = source.code / source.model_root
    parts = PurePosixPath(path).parts[1:]
    for start in range(1, len(parts)):
        if has(root, PurePosixPath(*parts[start:])):
            return str(PurePosixPath(*parts[start:]))
    return ""


def has_module(root: Path, folder: PurePosixPath, name: str) -> bool:
    return has(root, folder / f"{name}.py") or has(root, folder / name)


def has(root: Path, path: PurePosixPath) -> bool:
    """Whether the file exists below `root`. The path comes from the model, so links that lead out
    of `root` are not followed."""
    found = resolve_beneath(root, str(path))
    return found is not None and found.exists()


def is_empty(root: Path, path: PurePosixPath) -> bool:
    """Whether there is a folder without entries below `root`, found as by `has`."""
    found = resolve_beneath(root, str(path))
    try:
        return found is not None and found.is_dir() and not any(found.iterdir())
    except OSError:
        return False

"""What can fail while a build is made, said so that a user can act on it.

Every error has a *summary* (what failed), a *problem* (what was found, and where) and *advice*
(what to do next). It is about the project, the request or the machine, never about a defect of
predictd.
"""

from collections.abc import Iterable
from pathlib import Path


class BuilderError(Exception):
    """A failure that the author of a project, the caller or the operator can correct."""

    def __init__(self, summary: str, problem: str, advice: str) -> None:
        super().__init__(f"{summary}: {problem} ({advice})")
        self.summary = summary
        self.problem = problem
        self.advice = advice


class SnapshotFailed(BuilderError):
    """The files of a project could not be stored, or could not be read back."""

    def __init__(
        self,
        problem: str,
        advice: str = "Correct this and build again.",
    ) -> None:
        super().__init__("The snapshot of the project failed", problem, advice)


class SymlinkLeaves(SnapshotFailed):
    """Symbolic links lead to files that models cannot see, so a copy would be incomplete."""

    def __init__(self, links: Iterable[str]) -> None:
        self.links = sorted(links)
        super().__init__(
            f"symbolic links lead outside the project: {', '.join(self.links)}",
            "Replace each link by the file itself or by a link to a file of the project, add it to "
            ".gitignore, or ask the operator to add its target folder to `shared_folders`.",
        )


class CloneRefused(BuilderError):
    """The address or the reference of a repository is not accepted."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__("The repository was not cloned", problem, advice)


class CloneFailed(BuilderError):
    """git could not clone a repository. The problem has only what the user may see."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "The repository could not be cloned",
            problem,
            "Check the address, the reference, and the name and password or the key for it.",
        )


class UnknownKernel(BuilderError):
    """No interpreter of this machine has the requested name."""

    def __init__(self, kernel: str, known: Iterable[str]) -> None:
        self.kernel = kernel
        self.known = list(known)
        super().__init__(
            "The kernel is not available",
            f"{kernel!r} is not an interpreter of this machine",
            f"Choose one of: {', '.join(self.known)}."
            if self.known
            else "Install CPython 3.8 or newer.",
        )


class RMissing(UnknownKernel):
    """R is needed, for a model or a script, on a machine without a usable R."""

    def __init__(self) -> None:
        self.kernel, self.known = "r", []
        BuilderError.__init__(
            self,
            "R is not on this machine",
            "R is not on this machine: models and scripts of R need R 4.0 or newer with its "
            "package jsonlite",
            "Ask the operator to install `r-base-core` and `r-cran-jsonlite` (Debian, Ubuntu), or "
            "`R-core` and `R-jsonlite` (Fedora). predictd finds it without a restart.",
        )


class InterpreterUnusable(BuilderError):
    """An interpreter that was requested by its path does not work."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            "The interpreter cannot be used",
            f"{path}: {reason}",
            "Give the path of a working CPython 3.8 or newer, or reinstall this one.",
        )


class InterpreterUnavailable(BuilderError):
    """An interpreter that this machine does not have could not be downloaded."""

    def __init__(self, version: str, reason: str) -> None:
        super().__init__(
            f"Python {version} is not on this machine, and could not be downloaded",
            reason,
            f"Install Python {version} with its venv module on this machine, or give the machine "
            "access to a mirror: `predictd env set UV_PYTHON_INSTALL_MIRROR --site`.",
        )


class EnvironmentFailed(BuilderError):
    """The virtual environment could not be created."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "The environment could not be created",
            problem,
            "Read the build's log; `predictd doctor` lists the interpreters of this machine.",
        )


class ScriptFailed(BuilderError):
    """The build script could not be run, or it failed."""


class LockBroken(BuilderError):
    """A rebuild cannot have the packages that the build had."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "The build could not be made again from its lock",
            problem,
            "Make the packages of the lock available in the package index (`predictd build lock` "
            "prints it), or deploy again: a new build takes what the index has now.",
        )


class ModelFileRefused(BuilderError):
    """The file to serve is missing, or not a Python file beneath the project."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__("The model's file cannot be served", problem, advice)


class ProbeFailed(BuilderError):
    """The model of a finished build did not start or failed on its example; raised by the probe."""

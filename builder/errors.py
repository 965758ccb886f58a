"""What can go wrong while a build is made, said so that somebody can act on it.

Every error has three parts: a *summary* (what failed), a *problem* (what was found, naming
it) and *advice* (what to do next). Each of them is about the project, the request or the
machine; a defect of our own is never dressed up as one of these.
"""

from collections.abc import Iterable
from pathlib import Path


class BuilderError(Exception):
    """Something the author of a project, the caller or the operator can put right."""

    def __init__(self, summary: str, problem: str, advice: str) -> None:
        super().__init__(f"{summary}: {problem} ({advice})")
        self.summary = summary
        self.problem = problem
        self.advice = advice


class SnapshotFailed(BuilderError):
    """The files of a project could not be stored, or not be read back."""

    def __init__(
        self,
        problem: str,
        advice: str = "Correct what is named and build again.",
    ) -> None:
        super().__init__("The project's files could not be taken", problem, advice)


class SymlinkLeaves(SnapshotFailed):
    """Symbolic links lead to where models see nothing, so a copy would not hold them."""

    def __init__(self, links: Iterable[str]) -> None:
        self.links = sorted(links)
        super().__init__(
            f"symbolic links lead out of the project: {', '.join(self.links)}",
            "Replace each by a link to a file of the project or by the file itself, name it in "
            ".gitignore, or have the operator name its target folder in `shared_folders`.",
        )


class CloneRefused(BuilderError):
    """The address or the reference of a repository is not one that we hand to git."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__("The repository was not cloned", problem, advice)


class CloneFailed(BuilderError):
    """git could not clone a repository; the problem is what the user may see of it."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "The repository could not be cloned",
            problem,
            "Check the address, the reference, and the name and password or the key for it.",
        )


class UnknownKernel(BuilderError):
    """No interpreter of this machine goes by the name asked for."""

    def __init__(self, kernel: str, known: Iterable[str]) -> None:
        self.kernel = kernel
        self.known = list(known)
        super().__init__(
            "There is no such kernel",
            f"{kernel!r} is not an interpreter of this machine",
            f"Choose one of: {', '.join(self.known)}."
            if self.known
            else "Install CPython 3.8 or newer.",
        )


class InterpreterUnusable(BuilderError):
    """An interpreter that was asked for by its path does not do its work."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            "The interpreter cannot be used",
            f"{path}: {reason}",
            "Name a working CPython 3.8 or newer, or install this one again.",
        )


class EnvironmentFailed(BuilderError):
    """The virtual environment could not be made."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "The environment could not be made",
            problem,
            "The build's log has every line; `predictd doctor` shows what this machine offers.",
        )


class ScriptFailed(BuilderError):
    """The build script could not be run, or said that it failed."""


class ModelFileRefused(BuilderError):
    """The file to serve is missing, or not a Python file beneath the project."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__("The model's file cannot be served", problem, advice)


class ProbeFailed(BuilderError):
    """The finished build did not start or did not answer its example; raised by the probe."""

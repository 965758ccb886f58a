"""What a project without a build script gets: an installation of the file that states its
requirements.

Of R that is `renv.lock` (`r/inside/restore_lock.R`). Of Python the first of `REQUIREMENT_FILES` is
taken. Each is looked for at the project's root, then in the model's. A script of one line installs
it, which the log shows: a project that needs more puts that line into a `cdsw-build.sh`. A
pyproject.toml that describes neither a project nor how it is built states no requirements.
"""

import shlex
from pathlib import Path
from typing import Any

from msgspec import Struct

from builder.environment.pip.wrappers import link_mode, uv_cache, uv_program
from builder.environment.r.library import R_LOCK, RESTORE
from builder.files.small_file import read_small_file
from builder.files.toml import read_toml
from builder.interpreters import Language
from builder.safe_paths import resolve_beneath
from builder.spec import DEFAULT_SCRIPT, BuildSpec

# In this order.
REQUIREMENT_FILES = ("pylock.toml", "uv.lock", "requirements.txt", "pyproject.toml")
_OF_LANGUAGE: dict[Language, tuple[str, ...]] = {"python": REQUIREMENT_FILES, "r": (R_LOCK,)}
MOST_BYTES = 1024 * 1024
# uv installs a lock into the environment that is there. It would make another one for a
# `.python-version` that asks for another Python.
_SYNC = 'sync --locked --inexact --no-dev --active --python "$VIRTUAL_ENV/bin/python"'


class ImplicitScript(Struct, frozen=True):
    """The file that is installed, and the line for bash that does it."""

    file: str
    line: str

    def variables(self, spec: BuildSpec) -> dict[str, str]:
        """Return what its line needs beside the variables of scripts. The environment has to exist.
        Blocking."""
        return _uv_variables(spec) if self.file.endswith("uv.lock") else {}

    @property
    def told(self) -> str:
        """The line of the log."""
        return (
            f"No {DEFAULT_SCRIPT}: installing {self.file} (write a {DEFAULT_SCRIPT} to do more; "
            f"it could begin with `{self.shown}`)"
        )

    @property
    def shown(self) -> str:
        """The line as a script would have it, in which `uv` is a package to install."""
        if self.file.endswith(R_LOCK):
            enter, _, _ = self.line.rpartition("Rscript ")
            return f"{enter}Rscript -e 'renv::restore()'"
        uv = shlex.quote(str(uv_program()))
        line = self.line.replace(f"{uv} {_SYNC}", "uv sync --locked --inexact --active")
        return f"pip install uv && {line}" if line != self.line else line


def requirement_files(language: Language) -> tuple[str, ...]:
    """Return the names of the files of which the first is installed without a script."""
    return _OF_LANGUAGE[language]


def find_implicit_script(spec: BuildSpec, language: Language) -> ImplicitScript | None:
    """Return what is run in the place of a script, None where the project states nothing.
    Blocking."""
    for root in dict.fromkeys(("", spec.model_root)):
        folder = resolve_beneath(spec.code, root) if root else spec.code
        for name in requirement_files(language) if folder is not None else ():
            if folder and (command := _command(spec.code, folder / name)):
                enter = f"cd {shlex.quote(root)} && " if root else ""
                line = f"{enter}{command}"
                return ImplicitScript(f"{root}/{name}" if root else name, line)
    return None


def _command(code: Path, file: Path) -> str:
    """What installs a file, "" where it is not there or states nothing."""
    if not file.is_file():
        return ""
    match file.name:
        case "renv.lock":
            return RESTORE
        case "uv.lock":
            return f"{shlex.quote(str(uv_program()))} {_SYNC}"
        case "pyproject.toml":
            described = _read_toml(code, file)
            if "build-system" in described:
                return "pip install -e ."
            return "pip install -r pyproject.toml" if "project" in described else ""
        case _:
            return f"pip install -r {file.name}"


def _read_toml(code: Path, file: Path) -> dict[str, Any]:
    """A broken file, or a link out of the project, counts as a project: its installation tells what
    is wrong."""
    target = resolve_beneath(code, str(file.relative_to(code)))
    try:
        return read_toml(read_small_file(target or file, MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        return {"project": {}}


def _uv_variables(spec: BuildSpec) -> dict[str, str]:
    """The variables of uv, of which those of the project win."""
    return {
        "UV_CACHE_DIR": str(uv_cache(spec)),
        "UV_LINK_MODE": link_mode(spec),
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
    } | {name: value for name, value in spec.variables.items() if name.startswith("UV_")}

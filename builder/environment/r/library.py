"""The library of an environment, in which the build script's R installs its packages.

It lies in the environment as `library`, beside the packages of Python, so one script may install
for both languages. R looks for a package there, then in the libraries of the machine, whose
packages need not be installed again. An environment of R has links to its R in `bin`, as it has one
to its Python.

The script's R reads a site profile of ours, which records what it asks repositories for
(`requests.py`). It reads that of the machine first.
"""

import shutil
from pathlib import Path

from builder.environment.seeds import WRAPPERS
from builder.interpreters import Interpreter
from builder.spec import BuildSpec

R_LOCK = "renv.lock"
RECORD = "r-requests"
# In the place of a script: what `renv::restore()` does, without renv.
RESTORE = f'Rscript "$VIRTUAL_ENV/{WRAPPERS}/restore_lock.R" {R_LOCK}'
_LIBRARY = "library"
_INSIDE = Path(__file__).parent / "inside"
_PROGRAMS = ("R", "Rscript")


def library_of(virtualenv: Path) -> Path:
    """Return the library of an environment."""
    return virtualenv / _LIBRARY


def make_library(spec: BuildSpec, interpreter: Interpreter) -> None:
    """Make the library of an environment, and what the script's R is given. Blocking. Raises
    OSError."""
    library_of(spec.virtualenv).mkdir(exist_ok=True)  # a runtime's environment has one
    for source in _INSIDE.iterdir():
        copy = spec.virtualenv / WRAPPERS / source.name
        shutil.copyfile(source, copy)
        copy.chmod(0o644)
    if interpreter.language == "r":
        for name in _PROGRAMS:
            (spec.virtualenv / "bin" / name).symlink_to(interpreter.path.with_name(name))


def record_path(spec: BuildSpec) -> Path:
    """Where the requests to repositories are recorded, for the script too."""
    return spec.tmp / RECORD


def start_record(spec: BuildSpec) -> None:
    """Make an empty record, which any user may append to."""
    record_path(spec).touch()
    record_path(spec).chmod(0o666)


def r_variables(spec: BuildSpec) -> dict[str, str]:
    """Return the variables of the script's R. Those of the project win, but its libraries come
    behind that of the build, in which packages are installed."""
    library = str(library_of(spec.virtualenv))
    own = {
        "R_PROFILE": str(spec.virtualenv / WRAPPERS / "Rprofile.site"),
        "PREDICTD_R_REQUESTS": str(record_path(spec)),
        # Renv would make a library in the project, which the model could not change, and would
        # link packages into a cache that the model does not see.
        "RENV_CONFIG_AUTOLOADER_ENABLED": "FALSE",
        "RENV_CONFIG_CACHE_ENABLED": "FALSE",
        "RENV_PATHS_ROOT": str(spec.pip_cache / "renv"),
    }
    libraries = [library, spec.variables.get("R_LIBS", ""), spec.variables.get("R_LIBS_USER", "")]
    named = {"R_LIBS": ":".join(filter(None, libraries)), "R_LIBS_USER": library}
    given = {name: spec.variables[name] for name in own if name in spec.variables}
    return own | given | named

"""How programs of each language are started in a build's environment: the one table.

No other code of this package asks which language a process runs. What the language finds on its
side is in `inside/`, one folder for each. A new language is a row here and a folder there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from workers.spec import ExperimentSpec, Language, ReplicaSpec, ShellSpec

# What processes of all languages may read of ours.
INSIDE = Path(__file__).parents[1] / "inside"
# `cdsw` and `cml` for Pythons and Rs that are no replicas.
PACKAGES = INSIDE / "python" / "packages"
R_PACKAGES = INSIDE / "r" / "packages"

Spec = ReplicaSpec | ExperimentSpec | ShellSpec
# Spark's web page has a port by number, without which Spark ends, and no password.
_SPARK = {"SPARK_SUBMIT_OPTS": "-Dspark.ui.enabled=false"}
# What R is started with. It reads `.Renviron`, as R does. `start.R` runs `.Rprofile` as a part of
# the model, so that its failure is reported; a script's R runs it by itself.
_R = ("--no-echo", "--no-restore")
_R_PROFILE = "R_PROFILE"
# The descriptors of the wire. Its arguments are visible to the model: R has no `sys.argv` to set.
_R_WIRE = "PREDICTD_WIRE"


class Invocation(msgspec.Struct, frozen=True):
    """A program and what it needs beside `environment_of`."""

    words: list[str | Path]
    variables: Mapping[str, str] = {}


class LanguageCommands(msgspec.Struct, frozen=True):
    """How a language is started: a replica on the two descriptors of its wire, and a script with
    its arguments; and the variables of each of its processes."""

    serve: Callable[[ReplicaSpec, int, int], Invocation]
    run: Callable[[ExperimentSpec], Invocation]
    variables: Callable[[Spec], dict[str, str]]


def commands_of(language: Language) -> LanguageCommands:
    return _COMMANDS[language]


def _python(spec: Spec) -> Path:
    return spec.environment / "bin" / "python"


def _r(spec: Spec) -> Path:
    """The front end of the R that the gateway recorded; all of R's folders are in that prefix."""
    return (spec.prefix or Path("/usr")) / "bin" / "R"


def _serve_python(spec: ReplicaSpec, request_in: int, answer_out: int) -> Invocation:
    start = INSIDE / "python" / "start.py"
    return Invocation([_python(spec), start, str(request_in), str(answer_out)])


def _serve_r(spec: ReplicaSpec, request_in: int, answer_out: int) -> Invocation:
    start = f"--file={INSIDE / 'r' / 'start.R'}"
    wire = {_R_WIRE: f"{request_in},{answer_out}"}
    return Invocation([_r(spec), *_R, "--no-init-file", start], wire)


def _run_python(spec: ExperimentSpec) -> Invocation:
    return Invocation([_python(spec), INSIDE / "python" / "run.py", spec.script, *spec.arguments])


def _run_r(spec: ExperimentSpec) -> Invocation:
    """As `Rscript` runs it: `commandArgs`, shown values and the first frame are the script's."""
    arguments = ("--args", *spec.arguments) if spec.arguments else ()
    profile = spec.variables.get(_R_PROFILE, str(INSIDE / "r" / "script.Rprofile"))
    words: list[str | Path] = [_r(spec), *_R, f"--file={spec.script}", *arguments]
    return Invocation(words, {_R_PROFILE: profile})


def _variables(spec: Spec) -> dict[str, str]:
    return {
        "VIRTUAL_ENV": str(spec.environment),
        # The environment is sealed: importing from it must not write into it.
        "PYTHONDONTWRITEBYTECODE": "1",
        # For an R that is called, too. Packages of the build come first, then ours, then those of
        # the machine.
        "R_LIBS_USER": f"{spec.environment / 'library'}:{R_PACKAGES}",
        # The loader in a project's `.Rprofile` would put a library of the project first, and
        # download renv into it.
        "RENV_CONFIG_AUTOLOADER_ENABLED": "FALSE",
        **({} if spec.network == "listen" else _SPARK),
    }


_COMMANDS: dict[Language, LanguageCommands] = {
    "python": LanguageCommands(_serve_python, _run_python, _variables),
    "r": LanguageCommands(_serve_r, _run_r, _variables),
}

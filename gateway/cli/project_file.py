"""`predictd.toml` in a project's folder: the models that `deploy` without arguments deploys.

    [models.predict]
    file = "predict.py"
    function = "predict"
    replicas = 2

Only the command line reads it, on the user's machine: the gateway gets the values as it gets those
of flags, and a flag wins. The schema is strict: a mistake is told with its line and what is
allowed.
"""

import re
import tomllib
from argparse import ArgumentTypeError, Namespace
from copy import copy
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import msgspec

from gateway.cli.arguments import memory, variable
from gateway.cli.context import CommandFailed, Exit

NAME = "predictd.toml"
_MOST_BYTES = 64 * 1024


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[models.NAME]`. A key that is None was not given."""

    file: str
    function: str
    kernel: str | None = None
    replicas: int | None = None
    cpu: float | None = None
    memory: str | None = None
    gpus: int | None = None
    network: Literal["none", "outward", "machine", "listen"] | None = None
    auth: bool | None = None
    build_script: str | None = None
    env: dict[str, str] = {}
    example: Any = None


# What each key may have, for errors and for the reference in README.md.
KEYS = {
    "file": 'a path in the project, such as "predict.py"',
    "function": 'the name of a function of the file, such as "predict"',
    "kernel": 'an interpreter, such as "python3.11" or "r"',
    "replicas": "a whole number, such as 2",
    "cpu": "a number of CPUs for each replica, such as 0.5",
    "memory": 'an amount of memory for each replica, such as "512MiB"',
    "gpus": "a number of whole GPUs for each replica, such as 1",
    "network": '"none", "outward", "machine" or "listen"',
    "auth": "true if a Model API key is required, or false",
    "build_script": 'a path in the project (default: "cdsw-build.sh")',
    "env": 'variables of the replicas: a table of texts, such as { STAGE = "test" }',
    "example": "an example request: any value that JSON has",
}


class DeclaredModel(NamedTuple):
    """A model of the file."""

    name: str
    table: ModelTable


def read_project_file(folder: Path) -> list[DeclaredModel]:
    """The models of the folder's file. Raises CommandFailed."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode()
        document = tomllib.loads(text) if len(content) <= _MOST_BYTES else None
    except FileNotFoundError:
        raise CommandFailed(
            f"there is no {NAME} in {folder}",
            "name FILE:FUNCTION, or write the file with `predictd init`",
            Exit.USAGE,
        ) from None
    except OSError as error:
        raise CommandFailed(f"cannot read {NAME}: {error.strerror}", "", Exit.USAGE) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise CommandFailed(f"{NAME} is not TOML: {error}", "correct it", Exit.USAGE) from error
    if document is None:
        raise CommandFailed(f"{NAME} is longer than {_MOST_BYTES:,} bytes", "", Exit.USAGE)
    _refuse_unknown(text, document, ("models",), "")
    models = document.get("models")
    if not isinstance(models, dict) or not models:
        raise _invalid(text, "", "", "has no [models.NAME]")
    return [DeclaredModel(name, _table(text, name, table)) for name, table in models.items()]


def _table(text: str, name: str, table: object) -> ModelTable:
    section = f"models.{name}"
    if not isinstance(table, dict):
        raise _invalid(text, "models", name, "has to be a table [models.NAME]")
    _refuse_unknown(text, table, tuple(KEYS), section)
    for key in ("file", "function"):
        if key not in table:
            raise _invalid(text, section, "", f"[{section}] has no {key!r}: {KEYS[key]}")
    try:
        found = msgspec.convert(table, ModelTable)
        memory(found.memory or "1")
        for each in found.env:
            variable(f"{each}=")
        msgspec.json.encode(found.example)
    except msgspec.ValidationError as error:
        key = re.split(r"[.\[]", str(error).rpartition("`$.")[2].rstrip("`"))[0]
        raise _invalid(text, section, key, f"{key!r} has to be {KEYS.get(key, '')}") from None
    except ArgumentTypeError as error:
        key = "memory" if "memory" in str(error) else "env"
        raise _invalid(text, section, key, f"{key!r}: {error}") from None
    if found.replicas is not None and found.replicas < 1:
        raise _invalid(text, section, "replicas", f"'replicas' has to be {KEYS['replicas']}")
    if found.cpu is not None and not 0 < found.cpu < 10_000:
        raise _invalid(text, section, "cpu", f"'cpu' has to be {KEYS['cpu']}")
    if not found.function.isidentifier():
        raise _invalid(text, section, "function", f"'function' has to be {KEYS['function']}")
    return found


def _refuse_unknown(text: str, table: dict[str, Any], known: tuple[str, ...], section: str) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise _invalid(
                text, section, key, f"there is no key {key!r}", f"{hint}allowed: {', '.join(known)}"
            )


def _invalid(text: str, section: str, key: str, problem: str, advice: str = "") -> CommandFailed:
    line = _line_of(text, section, key)
    where = f"{NAME}, line {line}" if line else NAME
    return CommandFailed(
        f"{where}: {problem}", advice or 'see README.md of predictd, "predictd.toml"', Exit.USAGE
    )


def _line_of(text: str, section: str, key: str) -> int:
    """The line of a key, or of its section; 0 if it is not written as expected."""
    here, found = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.fullmatch(r"\s*\[+\s*([^\]]*?)\s*\]+\s*(#.*)?", line):
            here = header[1].replace('"', "").replace("'", "")
            if key and here in (f"{section}.{key}", key):
                return number
            if here == section:
                found = found or number
        elif here == section and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
            return number
    return found


def chosen_models(arguments: Namespace, folder: Path) -> list[Namespace]:
    """The arguments of each model to deploy, from the folder's file: those that were named, else
    all. What was given as a flag wins."""
    for name in arguments.target:
        _refuse_file(name, folder)
    declared = {model.name: model.table for model in read_project_file(folder)}
    names = arguments.target or list(declared)
    return [_with_defaults(arguments, name, _of_name(declared, name)) for name in names]


def declared_model(name: str, folder: Path) -> ModelTable:
    """The model of this name in the folder's file. Raises CommandFailed."""
    _refuse_file(name, folder)
    declared = {model.name: model.table for model in read_project_file(folder)}
    return _of_name(declared, name)


def example_of(file: str, function: str, folder: Path) -> Any:
    """The example of the only model with this function in the folder's file; None without one."""
    try:
        models = read_project_file(folder)
    except CommandFailed:
        return None  # a function can be tried without the file
    found = [each.table.example for each in models if _is_of(each.table, file, function)]
    return found[0] if len(found) == 1 else None


def _is_of(table: ModelTable, file: str, function: str) -> bool:
    return (PurePosixPath(table.file), table.function) == (PurePosixPath(file), function)


def _of_name(declared: dict[str, ModelTable], name: str) -> ModelTable:
    if name in declared:
        return declared[name]
    close = get_close_matches(name, declared, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    advice = f"{hint}it has {', '.join(declared)}; or name FILE:FUNCTION"
    raise CommandFailed(f"{NAME} has no model {name!r}", advice, Exit.USAGE)


def _refuse_file(name: str, folder: Path) -> None:
    """Refuses `predict.py` where `predict.py:predict` is meant."""
    if (folder / name).is_file():
        advice = f"add one, such as {name}:predict"
        raise CommandFailed(f"{name!r} names no function", advice, Exit.USAGE)


def _with_defaults(arguments: Namespace, name: str, table: ModelTable) -> Namespace:
    merged = copy(arguments)
    merged.target = (table.file, table.function)
    merged.name = arguments.name or name
    merged.build_script = table.build_script
    merged.env = [*table.env.items(), *arguments.env]
    defaults = {
        "kernel": table.kernel,
        "replicas": table.replicas,
        "cpu": table.cpu,
        "memory": memory(table.memory) if table.memory else None,
        "gpus": table.gpus,
        "network": table.network,
        "auth": table.auth,
        "example": table.example,
    }
    for key, value in defaults.items():
        if getattr(arguments, key) is None:
            setattr(merged, key, value)
    return merged

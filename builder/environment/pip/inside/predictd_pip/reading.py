"""Reads what pip is asked: its arguments, its variables and its configuration files.

An argument that pip would refuse, and one that is not in the table, raises NeedsPip with the
reason: pip answers.
"""

import os
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .table import COMMAS, EACH, FLAG, PIP, QUIRKY, Option, by_name

Given = List[Tuple[Option, str]]


class NeedsPip(Exception):
    """Why uv does not serve a request."""


class Asked(NamedTuple):
    """The arguments of pip: its verb, its options with their values, and all other words."""

    verb: str
    options: Given
    words: List[str]


def read_arguments(arguments: Sequence[str]) -> Asked:
    """Reads arguments as pip does: options before and after the verb and between words, and short
    ones in groups."""
    verb = ""
    options: Given = []
    words: List[str] = []
    left = list(arguments)
    while left:
        each = left.pop(0)
        if each == "--":
            words += left
            break
        if each.startswith("--"):
            name, equals, value = each.partition("=")
            options.append(_option(name, equals, value, left))
        elif each.startswith("-") and each != "-":
            options += _group(each[1:], left)
        elif not verb:
            verb = each
        else:
            words.append(each)
    return Asked(verb, options, words)


def _option(name: str, equals: str, value: str, left: List[str]) -> Tuple[Option, str]:
    option = by_name(name)
    if option is None:
        raise NeedsPip(f"{name} is not an option that it serves")
    if not option.takes_value:
        if equals:
            raise NeedsPip(f"{name} has a value")
        return option, ""
    if not equals:
        if not left:
            raise NeedsPip(f"{name} has no value")
        value = left.pop(0)
    return option, value


def _group(letters: str, left: List[str]) -> Iterator[Tuple[Option, str]]:
    while letters:
        option = by_name(f"-{letters[0]}")
        if option is None:
            raise NeedsPip(f"-{letters[0]} is not an option that it serves")
        letters = letters[1:]
        if option.takes_value:
            yield _option(option.names[0], "=" if letters else "", letters, left)
            return
        yield option, ""


def read_defaults(variables: Mapping[str, str], environment: str) -> Given:
    """The options that variables and configuration files give. Variables win."""
    values = _files(variables, environment)
    for name, value in variables.items():
        if name.startswith("PIP_") and name not in ("PIP_CONFIG_FILE", "PIP_VERSION", "PIP_HELP"):
            values[_normal(name[4:])] = value
    given: Given = []
    for name, value in values.items():
        if value.strip():
            given += _default(name, value.strip())
    return given


def _default(name: str, value: str) -> Iterator[Tuple[Option, str]]:
    option = by_name(f"--{name}")
    if option is None or set(option.names) & QUIRKY:
        raise NeedsPip(f"{name} is configured, which it does not serve")
    if option.kind == FLAG:
        truth = value.lower()
        if truth in ("1", "y", "yes", "t", "true", "on"):
            yield option, ""
        elif truth not in ("0", "n", "no", "f", "false", "off"):
            raise NeedsPip(f"{name} is configured as {value!r}")
    elif option.kind in (EACH, COMMAS):
        for part in value.split():
            yield option, part
    else:
        yield option, value


def _files(variables: Mapping[str, str], environment: str) -> Dict[str, str]:
    """The values of pip's configuration files: the later file wins, and `[install]`."""
    everywhere: Dict[str, str] = {}
    install: Dict[str, str] = {}
    for path in _configuration_files(variables, environment):
        if os.path.isfile(path):
            # Imported here, since most builds have no such file: 5 ms.
            from configparser import Error, RawConfigParser

            parser = RawConfigParser()
            try:
                parser.read([path], encoding="utf-8")
            except (Error, UnicodeDecodeError, OSError):
                raise NeedsPip(f"{path} cannot be read") from None
            for section, values in (("global", everywhere), ("install", install)):
                if parser.has_section(section):
                    values.update((_normal(name), value) for name, value in parser.items(section))
    return {**everywhere, **install}


def _configuration_files(variables: Mapping[str, str], environment: str) -> Iterator[str]:
    own = variables.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return
    for folder in variables.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield f"{folder}/pip/pip.conf"
    yield "/etc/pip.conf"
    if not (own and os.path.exists(own)):
        home = variables.get("HOME", "")
        yield f"{home}/.pip/pip.conf"
        yield f"{variables.get('XDG_CONFIG_HOME', f'{home}/.config')}/pip/pip.conf"
    yield f"{environment}/pip.conf"
    if own:
        yield own


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").lstrip("-")


def needs_pip(option: Option) -> Optional[str]:
    """Why an option is not uv's, or None."""
    return f"it does not have {option.names[-1]}" if option.served == PIP else None

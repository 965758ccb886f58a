"""The requests that a build script has made of `pip`, as its program recorded them.

The project's code can write the record, so it is bounded and checked: a record that is not as it
should be gives None, and so does a missing one. The variables of users may be secrets. Their values
are not kept: a request has the names in their place, and gets the values where it is made again.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from builder.files.small_file import read_small_file
from builder.spec import BuildSpec

RECORD = "pip-requests"
MOST_BYTES = 1024 * 1024
MOST_REQUESTS = 200
# Shorter values would be found by chance, and are no secrets.
SHORTEST_SECRET = 4


class PipRequest(Struct, frozen=True, kw_only=True):
    """One request that may have got packages from an index.

    `pairs` are what uv was asked: an option and its value, the packages last, without an option.
    `folder` is relative to the project. `variables` are those that the script has changed. A name
    between NULs stands for the value of a variable that users have set. `got` are the folders of
    packages, such as `flask-3.0.0.dist-info`, that the environment has since the request.
    """

    served: Literal["uv", "pip"]
    verb: str
    arguments: list[str]
    pairs: list[tuple[str, str]]
    folder: str
    variables: dict[str, str]
    status: int
    got: list[str] = []


def record_path(spec: BuildSpec) -> Path:
    """Where requests are recorded, for the script too."""
    return spec.tmp / RECORD


def start_record(spec: BuildSpec) -> None:
    """Make an empty record, which any user may append to."""
    record_path(spec).touch()
    record_path(spec).chmod(0o666)


def read_requests(spec: BuildSpec, given: dict[str, str]) -> list[PipRequest] | None:
    """Return the requests of a script that was `given` these variables, in order. None where the
    record is missing, too long or not ours. Blocking."""
    try:
        content = read_small_file(record_path(spec), MOST_BYTES)
        found = [_DECODER.decode(line) for line in content.splitlines()]
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if len(found) > MOST_REQUESTS:
        return None
    home = PurePosixPath(spec.home)
    known = given | {"HOME": str(home)}
    requests = []
    for request in found:
        if not PurePosixPath(request.folder).is_relative_to(home) or "\0" in str(request):
            return None
        changed = {
            name: value for name, value in request.variables.items() if known.get(name) != value
        }
        relative = replace(
            request,
            folder=str(PurePosixPath(request.folder).relative_to(home)),
            variables=changed,
        )
        requests.append(_each_text(relative, lambda text: hidden(text, spec)))
    return requests


def fill_in(request: PipRequest, spec: BuildSpec) -> PipRequest:
    """Return the request with the values of the variables that it names."""
    return _each_text(request, lambda text: filled(text, spec))


_DECODER = msgspec.json.Decoder(PipRequest)


def _values(spec: BuildSpec) -> list[tuple[str, str]]:
    """Names and values to hide, the longest first: one may be part of another."""
    values = {**spec.variables, "HOME": str(spec.home)}
    secrets = [each for each in values.items() if len(each[1]) >= SHORTEST_SECRET]
    return sorted(secrets, key=lambda each: (-len(each[1]), each[0]))


def hidden(text: str, spec: BuildSpec) -> str:
    """Return the text with names in the place of the values of variables."""
    for name, value in _values(spec):
        # Odd parts are names, put there before.
        parts = text.split("\0")
        parts[::2] = [part.replace(value, f"\0{name}\0") for part in parts[::2]]
        text = "\0".join(parts)
    return text


def filled(text: str, spec: BuildSpec) -> str:
    """The inverse of `hidden`."""
    values = dict(_values(spec))
    parts = text.split("\0")
    parts[1::2] = [values.get(name, "") for name in parts[1::2]]
    return "".join(parts)


def _each_text(request: PipRequest, change: Callable[[str], str]) -> PipRequest:
    return replace(
        request,
        arguments=[change(each) for each in request.arguments],
        pairs=[(option, change(value)) for option, value in request.pairs],
        variables={name: change(value) for name, value in request.variables.items()},
    )

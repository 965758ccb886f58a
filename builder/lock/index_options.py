"""With which indexes the script has installed: options for uv, from the script's own requests.

A request that real pip served is not known in uv's options. Then the variables of pip count, which
most projects use for a private index.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from builder.environment.pip.requests import PipRequest, fill_in
from builder.spec import BuildSpec

_NO_INDEX, _INDEX, _EXTRA, _LINKS = (
    *("--no-index", "--index-url", "--extra-index-url"),
    "--find-links",
)
CONSTRAINTS = "--constraints"
_FILES = "--requirements"
_USED = (_NO_INDEX, _INDEX, _EXTRA, _LINKS, _FILES, "--allow-insecure-host", "--cert")
_VARIABLES = {
    "PIP_INDEX_URL": _INDEX,
    "PIP_EXTRA_INDEX_URL": _EXTRA,
    "PIP_FIND_LINKS": _LINKS,
    "PIP_TRUSTED_HOST": "--allow-insecure-host",
    "PIP_CERT": "--cert",
}
_LOCAL = (_LINKS, _FILES)
_TRUE = ("1", "true", "yes", "on")


def index_options(spec: BuildSpec, requests: list[PipRequest] | None) -> list[str]:
    """Return the options that name all indexes of the requests; None are unknown requests.

    Requirements files may name indexes, too. As constraints they ask for nothing.
    """
    by_uv = [request for request in requests or [] if request.served == "uv"]
    asked = [_of_request(spec, fill_in(request, spec)) for request in by_uv]
    if not requests or len(by_uv) < len(requests):
        asked.append(_of_variables(spec.variables))
    pairs = list(dict.fromkeys(pair for each in asked for pair in each))
    if not all((_NO_INDEX, "") in each for each in asked):
        pairs = [pair for pair in pairs if pair != (_NO_INDEX, "")]
    return [f"{option}={value}" if value else option for option, value in _one_index(pairs)]


def _of_request(spec: BuildSpec, request: PipRequest) -> list[tuple[str, str]]:
    folder = PurePosixPath(spec.home) / request.folder
    pairs = [pair for pair in request.pairs if pair[0] in _USED]
    return [
        # Files and folders are named from where the script was.
        (option, str(folder / value) if option in _LOCAL and "://" not in value else value)
        for option, value in pairs
    ]


def _of_variables(variables: Mapping[str, str]) -> list[tuple[str, str]]:
    found = [
        (option, value)
        for name, option in _VARIABLES.items()
        for value in variables.get(name, "").split()
    ]
    if variables.get("PIP_NO_INDEX", "").lower() in _TRUE:
        found.append((_NO_INDEX, ""))
    return found


def _one_index(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the pairs with the second main index as a further one: uv takes one."""
    seen = False
    for option, value in pairs:
        if option == _FILES:
            option = CONSTRAINTS
        yield (_EXTRA if option == _INDEX and seen else option), value
        seen = seen or option == _INDEX

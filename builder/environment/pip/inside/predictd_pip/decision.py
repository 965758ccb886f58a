"""Decides who serves a request of pip, and what uv is asked.

uv is asked in pairs of an option and its value; the option of a package is empty. The pairs are
also what is recorded, so that the request can be resolved again.
"""

import os
from fnmatch import fnmatch
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

from .reading import Asked, Given, NeedsPip, needs_pip, read_arguments, read_defaults
from .requirement_files import check_source, constrains_lock, look_through
from .table import COMMAS, DROPPED, EACH, FLAG, PROXY, TIMEOUT, UV, VERBS

Pairs = List[Tuple[str, str]]
# What uv takes from variables in pip's meaning: sources in a pyproject.toml are for uv's own
# projects, and certificates are the machine's (gotcha G2).
SETTINGS = {
    "UV_NO_CONFIG": "1",
    "UV_NO_PROGRESS": "1",
    "UV_NO_SOURCES": "1",
    "UV_PREVIEW_FEATURES": "pylock",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_SYSTEM_CERTS": "1",
}
# Any index may have the best version. With it uv hides refused credentials, so it is only set where
# there are several indexes.
STRATEGY = "UV_INDEX_STRATEGY"
BEST_MATCH = "unsafe-best-match"
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy")


class Decision(NamedTuple):
    """Who serves a request, why it is not uv, and what uv gets. `gets` is whether it may get
    packages from an index."""

    served: str
    verb: str
    gets: bool
    reason: str = ""
    pairs: Pairs = []  # noqa: RUF012 - never changed
    variables: Dict[str, str] = {}  # noqa: RUF012 - never changed


def decide(
    arguments: Sequence[str], variables: Mapping[str, str], environment: str, folder: str
) -> Decision:
    """Decides about a request with these variables, made in `folder`."""
    verb = ""
    try:
        asked = read_arguments(arguments)
        verb = asked.verb
        if VERBS.get(verb) != UV:
            return _pip(verb, "")
        if variables.get("PREDICTD_PIP", UV) == "pip":
            return _pip(verb, "PREDICTD_PIP asks for pip")
        given = read_defaults(variables, environment) + asked.options
        return _uv(asked, given, folder)
    except NeedsPip as problem:
        # The verb may be one of the words that were not read.
        verb = verb or next((word for word in arguments if word in VERBS), "")
        return _pip(verb, str(problem))


def _pip(verb: str, reason: str) -> Decision:
    return Decision("pip", verb, verb in VERBS, reason)


def _uv(asked: Asked, given: Given, folder: str) -> Decision:
    files = [value for option, value in given if option.names[0] in ("-r", "-c")]
    looked = look_through(files, folder)
    given = given + looked.lifted
    pairs: Pairs = []
    variables: Dict[str, str] = {}
    last: Dict[str, str] = {}
    for option, value in given:
        reason = needs_pip(option)
        if reason:
            raise NeedsPip(reason)
        if option.served == DROPPED:
            continue
        if option.names[0] == "-e":
            check_source(value, editable=True)
        if option.kind == FLAG:
            if option.uv in ("--quiet", "--verbose") or (option.uv, "") not in pairs:
                pairs.append((option.uv, ""))
        elif option.kind == EACH:
            pairs.append((option.uv, value))
        elif option.kind == COMMAS:
            pairs += [(option.uv, part) for part in value.split(",") if part]
        elif option.kind == TIMEOUT:
            variables[TIMEOUT] = value
        elif option.kind == PROXY:
            proxy = value if "://" in value else f"http://{value}"
            variables.update(dict.fromkeys(PROXIES, proxy))
        else:
            last[option.uv] = value
    for word in asked.words:
        check_source(word)
    if looked.several_indexes or any(option.uv == "--extra-index-url" for option, _ in given):
        variables[STRATEGY] = BEST_MATCH
    pairs += list(last.items())
    pairs = _without_idle_constraints(pairs, asked.words, folder)
    pairs = _upgrade_by_name(pairs, asked.words) + [("", word) for word in asked.words]
    return Decision("uv", asked.verb, True, "", pairs, variables)


def _without_idle_constraints(pairs: Pairs, words: Sequence[str], folder: str) -> Pairs:
    """A pylock.toml names its files, and uv takes no constraints for it: those of the site and of
    a rebuild are left out where they change nothing."""
    files = [os.path.join(folder, value) for option, value in pairs if option == "--requirements"]
    names = [os.path.basename(each) for each in files]
    if words or len(files) != 1 or not fnmatch(names[0], "pylock*.toml"):
        return pairs
    return [
        (option, value)
        for option, value in pairs
        if option != "--constraints" or constrains_lock(files[0], _in(folder, value))
    ]


def _in(folder: str, value: str) -> str:
    return value if "://" in value else os.path.join(folder, value)


def _upgrade_by_name(pairs: Pairs, words: List[str]) -> Pairs:
    """`pip install -U NAME` upgrades what is named, and what that needs only if it has to."""
    names = [_name(word) for word in words]
    others = {option for option, _ in pairs} & {"--requirements", "--editable", "--group"}
    if ("--upgrade", "") not in pairs or others or not all(names):
        return pairs
    kept = [pair for pair in pairs if pair != ("--upgrade", "")]
    return kept + [("--upgrade-package", name) for name in names]


def _name(word: str) -> str:
    """The name in `name`, `name[extra]` and `name>=1`; "" in a path or an address."""
    if "/" in word or "@" in word or word.startswith(".") or word.endswith(".whl"):
        return ""
    ends = [word.find(mark) for mark in "[<>=!~; "]
    return word[: min([end for end in ends if end >= 0], default=len(word))]


def has_several_indexes(decision: Decision) -> bool:
    """Whether packages may come from more than one place of the network."""
    links = (value for option, value in decision.pairs if option == "--find-links")
    return STRATEGY in decision.variables or any("://" in value for value in links)


def command(pairs: Pairs) -> List[str]:
    """The arguments for `uv pip install`."""
    made: List[str] = []
    for option, value in pairs:
        if not option:
            continue
        made.append(f"{option}={value}" if value else option)
    words = [value for option, value in pairs if not option]
    return [*made, *(["--", *words] if words else [])]


def uv_variables(
    variables: Mapping[str, str], own: Mapping[str, str], cache: str, link_mode: str
) -> Dict[str, str]:
    """The variables of uv. Those that a project sets for uv are not for its `pip`."""
    kept = {name: value for name, value in variables.items() if not name.startswith("UV_")}
    bundle = variables.get("REQUESTS_CA_BUNDLE") or variables.get("CURL_CA_BUNDLE")
    if bundle and os.path.isfile(bundle):
        kept.setdefault("SSL_CERT_FILE", bundle)
    more = {"UV_CACHE_DIR": cache, "UV_LINK_MODE": link_mode}
    return {**kept, **SETTINGS, **more, **own}

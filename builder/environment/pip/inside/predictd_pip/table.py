"""What uv can do in pip's place: the table of pip's verbs, options and uv's failures.

An option is served by `uv`, which has it or a variable for it; it is `dropped`, since it does not
change what is installed; or it needs `pip`. What the table does not list needs pip.
"""

from typing import Dict, NamedTuple, Optional, Tuple

UV, DROPPED, PIP = "uv", "dropped", "pip"

# What an option's value becomes for uv.
FLAG = "flag"  # there is no value
LAST = "last"  # one value: the last one counts
EACH = "each"  # the option with each value
COMMAS = "commas"  # the option with each part between commas
TIMEOUT = "UV_HTTP_TIMEOUT"  # this variable
PROXY = "ALL_PROXY"  # the variables of proxies


class Option(NamedTuple):
    """An option of `pip install`: its names, who serves it, its kind, and its name for uv."""

    names: Tuple[str, ...]
    served: str
    kind: str
    uv: str

    @property
    def takes_value(self) -> bool:
        return self.kind != FLAG


def _options(served: str, kind: str, *rows: str) -> "list[Option]":
    """Each row has pip's names, and after `=` uv's, where that is another one."""
    made = []
    for row in rows:
        ours, _, other = row.partition("=")
        names = tuple(ours.split())
        made.append(Option(names, served, kind, other or names[-1]))
    return made


# Verbs that uv serves, and those that pip serves and that get packages from an index. All others
# are pip's and get nothing.
VERBS = {"install": UV, "download": PIP, "wheel": PIP, "lock": PIP}

OPTIONS = [
    *_options(
        UV,
        EACH,
        "-r --requirement=--requirements",
        "-c --constraint=--constraints",
        "-e --editable",
        "--build-constraint=--build-constraints",
        "--extra-index-url",
        "-f --find-links",
        "--trusted-host=--allow-insecure-host",
        "-C --config-settings --config-setting",
        "--group",
    ),
    *_options(UV, COMMAS, "--no-binary", "--only-binary"),
    *_options(UV, LAST, "-i --pypi-url --index-url", "-t --target", "--prefix", "--cert"),
    *_options(UV, TIMEOUT, "--default-timeout --timeout"),
    *_options(UV, PROXY, "--proxy"),
    *_options(
        UV,
        FLAG,
        "--no-dependencies --no-deps",
        "--no-index",
        "--pre=--prerelease=allow",
        "-U --upgrade",
        "--force-reinstall=--reinstall",
        "--no-build-isolation",
        "--require-hashes",
        "--dry-run",
        # Uses the cache, but asks the index whether each cached file is still what it has.
        "--no-cache-dir=--refresh",
        "-q --quiet",
        "-v --verbose",
    ),
    *_options(
        DROPPED,
        FLAG,
        "--user",  # the build's environment is the only one: gotcha G6 in the builder's README
        "--no-user",
        "--no-input",
        "--no-color",
        "--no-warn-script-location",
        "--no-warn-conflicts",
        "--prefer-binary",
        "--use-pep517",
        "--compile",
        "--no-compile",
        "--break-system-packages",
        "--disable-pip-version-check",
        "--no-python-version-warning",
        "--require-virtualenv --require-venv",
    ),
    *_options(
        DROPPED,
        LAST,
        "--progress-bar",
        "--root-user-action",
        "--retries",
        "--resume-retries",
        "--cache-dir",
    ),
    *_options(
        PIP,
        FLAG,
        "-h --help",
        "-V --version",
        "-I --ignore-installed",
        "--ignore-requires-python",
        "--no-use-pep517",
        "--no-clean",
        "--check-build-dependencies",
        "--isolated",
        "--debug",
        "--only-deps",
        "--no-require-hashes",
        "--no-proxy-env",
    ),
    *_options(
        PIP,
        LAST,
        "--upgrade-strategy",
        "--src --source",
        "--root",
        "--report",
        "--platform",
        "--python-version",
        "--implementation",
        "--abi",
        "--global-option",
        "--install-option",
        "--build-option",
        "--requirements-from-script",
        "--all-releases",
        "--only-final",
        "--refresh-package",
        "--uploaded-prior-to",
        "--exists-action",
        "--keyring-provider",
        "--client-cert",
        "--use-feature",
        "--use-deprecated",
        "--python",
        "--log --log-file --local-log",
    ),
]
BY_NAME: Dict[str, Option] = {name: option for option in OPTIONS for name in option.names}
# pip reads these from variables and files by rules of their own.
QUIRKY = {"--no-build-isolation", "--use-pep517", "--no-use-pep517"}

# In a requirements file uv reads the options on the left. Those in the middle it reads on its
# command line only. All others need pip, or are dropped.
IN_FILES = {
    "-r --requirement -c --constraint -e --editable -i --index-url --extra-index-url -f "
    "--find-links --no-index --no-binary --only-binary": UV,
    "--pre --trusted-host --require-hashes": "lifted",
    "--prefer-binary": DROPPED,
}
FILE_OPTIONS = {name: served for names, served in IN_FILES.items() for name in names.split()}

# The last word is uv's if there is one index, else pip's.
ONE_INDEX = "one index"
# What uv prints when it fails, and who has the last word. The first match counts. A failure that is
# not listed is pip's: its own message, or its success, is worth the time.
FAILURES: "list[Tuple[str, str]]" = [
    # uv is stricter than pip, or needs something that pip does not.
    ("certificate", PIP),
    ("pre-release", PIP),
    ("prerelease", PIP),
    ("invalid metadata", PIP),
    ("inconsistent metadata", PIP),
    ("invalid package format", PIP),
    ("authentication", PIP),
    ("credentials", PIP),
    # pip skips an index that does not answer or refuses its credentials, which uv hides
    # where there are several.
    ("was not found in the package registry", ONE_INDEX),
    ("dns error", ONE_INDEX),
    ("tcp connect error", ONE_INDEX),
    ("operation timed out", ONE_INDEX),
    # pip would say the same, later.
    ("No solution found when resolving dependencies", UV),
    ("Hash mismatch for ", UV),
    ("File not found: ", UV),
    ("failed to read from file", UV),
    ("No space left on device", UV),
    ("Disk quota exceeded", UV),
    ("Could not resolve host", UV),
    ("Failed to build ", UV),
]
# The pip of an older Python builds as setup.py did, without isolation, so it may build more.
SAME_BUILDS_SINCE = (3, 9)


def last_word(text: str, version: "Tuple[int, ...]", several_indexes: bool) -> str:
    """Who tells that a request failed, by what uv printed in a Python of this version."""
    for pattern, served in FAILURES:
        if pattern in text:
            legacy = pattern.startswith("Failed to build") and version < SAME_BUILDS_SINCE
            if legacy or (several_indexes and served == ONE_INDEX):
                return PIP
            return UV if served == ONE_INDEX else served
    return PIP


def by_name(name: str) -> Optional[Option]:
    """The option with this name, such as `--quiet` or `-q`; None for one that is not listed."""
    return BY_NAME.get(name)

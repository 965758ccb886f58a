"""Explains a failed script from its last lines: the problem, and what to do about it.

`RULES` has the knowledge: a pattern and its advice. The match nearest to the end is the problem.
Without a match, the last line with text is the problem. `CAUSES` come first, wherever they stand,
since their consequences are printed after them.
"""

import re
from itertools import takewhile
from signal import SIGKILL, Signals

from builder.environment.r import diagnosis as diagnosis_of_r

# How uv indents the lines of a cause after the first.
_CONTINUED = " " * 9
FALLBACK = "Read the whole log of this build, or run the script by hand in a fresh environment."

UNREACHED = (
    "A host could not be reached, such as the package index. Check its name, the network and "
    "PIP_INDEX_URL, then build again."
)

# The last log line of a script that reached a limit begins so; and the advice for each limit.
_LIMIT_LINE = "[predictd] the script "
LIMITS = [
    (
        "memory",
        "Make the script do less at a time (fewer compilers by `make -j` or MAX_JOBS, wheels "
        "instead of sources), stop a model meanwhile, or ask the operator to raise `build_memory`.",
    ),
    (
        "processes",
        "Make the script start fewer processes and threads at a time (`make -j`), or ask the "
        "operator to raise `build_processes`.",
    ),
    ("to disk", DISK := "Make the script write less, or ask the operator to raise `build_disk`."),
]
CAUSES = [*diagnosis_of_r.CAUSES] + [
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"'sklearn' PyPI package is deprecated",
            "Install `scikit-learn` instead of `sklearn`, which is an empty package.",
        ),
        (
            r"DO NOT MATCH THE HASHES|cause: Hash mismatch for",
            "A package does not have the hash of the requirements: it was replaced, or the index "
            "serves another file. Find out why, then update the hashes.",
        ),
        (
            r"lack of valid authentication credentials|authentication error",
            "The index refused the credentials, or has none: check the user and the password in "
            "PIP_INDEX_URL or in the requirements.",
        ),
        (
            # setuptools, hatchling and poetry about a project that is no package.
            r"Multiple top-level (packages|modules) discovered in a flat-layout"
            r"|Unable to determine which files to ship inside the wheel"
            r"|No file/folder found for package",
            "List the dependencies in requirements.txt, which is installed instead of "
            "pyproject.toml, or name there the files of the package: its build cannot tell which "
            "files belong to it.",
        ),
        (
            r"\.\./\S* is not a valid editable requirement|requirements file: .*'\.\./"
            r"|failed to read from file `[^`]*/\.\./|not found at: file:///home/(?!cdsw/)"
            r"|It looks like a path\. File '\.\./",
            "This is outside of the deployed folder, and a build has only that folder. Copy it "
            "into the folder (a package as a wheel: `pip wheel --no-deps -w wheels PATH`), or "
            "deploy from a folder that contains both.",
        ),
        (
            r"externally-managed-environment",
            "Call `pip`, which is the build's own: the script calls the pip of another Python.",
        ),
        (
            # The last retry. It causes a later "no matching distribution".
            r"Retrying \(Retry\(total=0,",
            UNREACHED,
        ),
        (
            # The stub of scikit-learn, which has its own rule, ends in the same words.
            r"Failed to build '(?!sklearn')\S+' when getting requirements to build wheel"
            r"|Getting requirements to build wheel did not run"
            r"|Call to `\S+\.get_requires_for_build_wheel` failed",
            "Require a newer version of the package, or choose an older Python (`--kernel`): this "
            "version has no wheel for the Python of this build and cannot be built with it.",
        ),
    )
]
RULES = [*diagnosis_of_r.RULES] + [
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"apt-get|are you root\?|/var/lib/(dpkg|apt)|sudo: ",
            "Ask the operator to install system packages, which a build script cannot, or use a "
            "Python package that includes them.",
        ),
        (
            # uv's words for it: names that do not exist, and versions.
            r"cause: Because .*(was not found|no versions? of|no wheels with|no usable wheels)"
            r"|No matching distribution found for",
            "Check the name and the version, and that they exist for the Python of this build; if "
            "not, choose another kernel.",
        ),
        (
            r"Temporary failure in name resolution|NewConnectionError|ReadTimeoutError"
            r"|Failed to establish a new connection|Could not fetch URL|Could not resolve host"
            r"|Failed to connect to|Connection refused|Network is unreachable|dns error"
            r"|error: Request failed after",
            UNREACHED,
        ),
        (
            r"ResolutionImpossible|conflicting dependencies|cause: Because ",
            "Relax one of the required versions, so that they are compatible.",
        ),
        (
            r"Could not open requirements file|error: File not found: "
            r"|cause: failed to read from file ",
            "Add the file to the project, check that .gitignore does not exclude it, or correct "
            "its name in the script.",
        ),
        (
            r"Can not perform a '--user' install",
            "Use `pip install` without `--user`: packages go into the build's own environment.",
        ),
        (
            r"ModuleNotFoundError: No module named",
            "Install the module in the build script, or add it to the requirements.",
        ),
        (
            r"No space left on device|Disk quota exceeded",
            "Free space on the disk of the data folder, for instance by deleting old builds.",
        ),
        (r"File too large|File size limit exceeded", DISK),
        (
            r"Failed building wheel|metadata-generation-failed|error: command '.*' failed"
            r"|error: Failed to build ",
            "Compiling a package failed. Require a version that has a wheel for the Python of this "
            "build, or ask the operator to install what the compiler needs.",
        ),
        (
            r"command not found",
            "Correct the name, or ask the operator to install the program: a build script cannot "
            "install system packages.",
        ),
        (
            r"Permission denied",
            "A build may write to its own folder and TMPDIR only; call scripts by `bash FILE`.",
        ),
        (
            r"syntax error",
            "Correct the script; `bash -n` checks it without running it.",
        ),
    )
]


def explain(status: int, lines: list[str]) -> tuple[str, str]:
    """Return problem and advice for a script that wrote `lines` and ended with `status`."""
    if lines and lines[-1].startswith(_LIMIT_LINE):
        said = lines[-1].removeprefix(_LIMIT_LINE)
        advice = next((advice for word, advice in LIMITS if word in said), FALLBACK)
        return f"it {said}", advice
    if status < 0:
        advice = "The machine may have run out of memory." if status == -SIGKILL else FALLBACK
        return f"it was killed by {_name(-status)}", advice
    for rules in (CAUSES, RULES):
        for number in reversed(range(len(lines))):
            for pattern, advice in rules:
                if pattern.search(lines[number]):
                    return _whole(lines[number:]), advice
    last = diagnosis_of_r.last_said(lines) or "it printed nothing"
    return f"{last} (exit status {status})", FALLBACK


def _whole(lines: list[str]) -> str:
    """The first line, with the lines below it that continue a cause of uv."""
    first, *others = lines
    if not first.strip().startswith("cause: "):
        return first.strip()
    more = takewhile(lambda line: line.startswith(_CONTINUED), others)
    return " ".join(line.strip() for line in (first, *more)).removeprefix("cause: ")


def names_version(problem: str) -> bool:
    """Whether the problem is a version that cannot be had."""
    return "==" in problem or "ResolutionImpossible" in problem


def _name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"

"""Reads the last lines of a failed script as an experienced colleague would.

`RULES` is the whole knowledge: a pattern, and what to do about it. The line that matches
nearest to the end is the problem. Without a match it is the last line that says anything. What is
in `CAUSES` comes first, wherever it stands: what follows from it is printed after it.
"""

import re
from signal import SIGKILL, Signals

FALLBACK = "Run the script by hand in a fresh environment, or read the whole log of this build."

UNREACHED = (
    "A host was not reached: the package index, or where a file comes from. Check its name, the "
    "network and PIP_INDEX_URL, then build again."
)

# How `Run` ends the log of a script that met a limit, and what to do about each.
_TOLD = "[predictd] the script "
LIMITS = [
    (
        "memory",
        "Have the script do less at a time (fewer compilers by `make -j` or MAX_JOBS, a wheel in "
        "place of a source), stop a model meanwhile, or have the operator raise `build_memory`.",
    ),
    (
        "processes",
        "Have the script start fewer processes and threads at a time (`make -j`), or have the "
        "operator raise `build_processes`.",
    ),
    ("to disk", DISK := "Have the script write less, or have the operator raise `build_disk`."),
]
CAUSES = [
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"'sklearn' PyPI package is deprecated",
            "The package `sklearn` is a stub: ask for `scikit-learn`, which brings the module.",
        ),
        (
            r"DO NOT MATCH THE HASHES",
            "A package is not the one that the requirements name by hash: it was replaced, or the "
            "index gives another file. Look at why, and then write the new hashes.",
        ),
        (
            r"externally-managed-environment",
            "The script calls another Python's pip: call `pip`, which is the build's own.",
        ),
        (
            # The last try. That there is "no matching distribution" follows from it.
            r"Retrying \(Retry\(total=0,",
            UNREACHED,
        ),
        (
            # The stub of scikit-learn, which has a cause of its own, ends in the same words.
            r"Failed to build '(?!sklearn')\S+' when getting requirements to build wheel"
            r"|Getting requirements to build wheel did not run",
            "That version of the package has no wheel for the Python of this build, and cannot be "
            "built with it: ask for a newer version, or choose the Python that it was made for "
            "(`--kernel`).",
        ),
    )
]
RULES = [
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"apt-get|are you root\?|/var/lib/(dpkg|apt)|sudo: ",
            "A build script cannot install system packages: have the operator install them, or use "
            "a package for Python that brings them along.",
        ),
        (
            r"No matching distribution found for",
            "Check the name and the version that are asked for, and that they exist for the "
            "Python of this build; choose another kernel if they do not.",
        ),
        (
            r"Temporary failure in name resolution|NewConnectionError|ReadTimeoutError"
            r"|Failed to establish a new connection|Could not fetch URL|Could not resolve host"
            r"|Failed to connect to|Connection refused|Network is unreachable",
            UNREACHED,
        ),
        (
            r"ResolutionImpossible|conflicting dependencies",
            "Loosen one of the versions that are asked for, so that they can stand together.",
        ),
        (
            r"Could not open requirements file",
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
            r"Failed building wheel|metadata-generation-failed|error: command '.*' failed",
            "A package had to be compiled and was not. Ask for a version that has a wheel for the "
            "Python of this build, or have the operator install what the compiler misses.",
        ),
        (
            r"command not found",
            "Correct the name, or have the operator install the program: a build script cannot "
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
    """(problem, advice) for a script that ended with `status` after writing `lines`."""
    if lines and lines[-1].startswith(_TOLD):
        said = lines[-1].removeprefix(_TOLD)
        advice = next((advice for word, advice in LIMITS if word in said), FALLBACK)
        return f"it {said}", advice
    if status < 0:
        advice = "The machine may have run out of memory." if status == -SIGKILL else FALLBACK
        return f"it was ended by {_name(-status)}", advice
    for rules in (CAUSES, RULES):
        for line in reversed(lines):
            for pattern, advice in rules:
                if pattern.search(line):
                    return line.strip(), advice
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
    return f"{last} (exit status {status})", FALLBACK


def _name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"

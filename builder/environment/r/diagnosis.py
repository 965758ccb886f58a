"""What R prints where it cannot install packages, and what to do about it.

`install.packages` warns and continues, so a script ends well although its packages are missing
(gotcha G1). `notes_of_r` tells that in the log. It does not fail the build: a package may be
optional.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

_UNREACHED_ADVICE = (
    "Check its address and the network, set the variable CRAN to a mirror that can be reached, or "
    "ask the operator to install the packages on the machine (`r-cran-NAME`), where builds find "
    "them."
)
UNREACHED = f"A repository of R could not be reached. {_UNREACHED_ADVICE}"
_NO_COMPILER = (
    "A compiler is missing. Ask the operator to install `r-base-dev` (Debian, Ubuntu) or "
    "`R-core-devel` (Fedora), or the compiled package itself (`r-cran-NAME`), which builds find."
)
_NO_R = (
    "Ask the operator to install R (`r-base-core` and `r-cran-jsonlite`), which this machine does "
    "not have, or remove the line from the script."
)
# R quotes names by these marks of UTF-8, and in its plain language by apostrophes.
_QUOTES = "'\u2018\u2019"
_NAME = f"[{_QUOTES}]([^{_QUOTES}]+)[{_QUOTES}]"
CAUSES = [
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"\b(gcc|cc|g\+\+|c\+\+|gfortran|make): ((command )?not found|No such file)",
            _NO_COMPILER,
        ),
        (r"\b(R|Rscript): (command )?not found", _NO_R),
        (
            r"Configuration failed because (\S+) was not found|fatal error: \S+\.h: No such file",
            "A package needs a library of the system. Ask the operator to install it with its "
            "headers, or the compiled package (`r-cran-NAME`), which builds find.",
        ),
        (r"renv\.lock: cannot download", UNREACHED),
        (
            r"renv\.lock: .* only packages of repositories are installed",
            "Write a cdsw-build.sh with `Rscript -e 'install.packages(\"renv\")' -e "
            "'renv::restore()'`: renv installs from such places, too.",
        ),
        (
            r"unable to access index for repository|cannot open URL 'https?:",
            UNREACHED,
        ),
    )
]
RULES = [
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            rf"there is no package called {_NAME}",
            "Install the package in the build script: `Rscript -e "
            "'install.packages(\"NAME\")'`, or ask the operator for `r-cran-NAME`.",
        ),
        (
            rf"packages? {_NAME}.* not available for this version of R",
            "Check the name of the package, and that the repository has it for this R: "
            "`options(repos)` and the variable CRAN name the repository.",
        ),
        (
            rf"dependenc(y|ies) {_NAME}.* not available for package",
            "Install what the package needs before it: `R CMD INSTALL` installs no dependencies.",
        ),
        (
            rf"(compilation failed for package|installation of package) {_NAME}",
            "Compiling a package of R failed. Read the lines above; a package of the machine "
            "(`r-cran-NAME`) needs no compiler, and builds find it.",
        ),
    )
]
_HALTED = "Execution halted"
_ERROR = ("Error: ", "Error in ")
_BEHIND_ERROR = ("Calls: ", "In addition: ", _HALTED)
_FAILED = re.compile(rf"installation of package {_NAME} had non-zero exit status")
_UNKNOWN = re.compile(rf"packages? ([{_QUOTES}].+[{_QUOTES}]) (?:is|are) not available")
_NO_INDEX = re.compile(r"unable to access index for repository (\S+?):?$")


def notes_of_r(lines: Sequence[str]) -> Iterator[str]:
    """Yield what R has not installed while its script continued."""
    for address in _found(_NO_INDEX, lines):
        yield f"R could not reach {address.removesuffix('/src/contrib')}. {_UNREACHED_ADVICE}"
        return  # the others follow from it
    for name in _found(_FAILED, lines):
        yield f"R could not install {name}, and the script continued"
    for names in _found(_UNKNOWN, lines):
        yield f"R found no package {names}, and the script continued"


def last_said(lines: Sequence[str]) -> str:
    """Return the last line that says something, "" if none does. Of a script of R that is its
    error, behind which R prints the calls, warnings, and that it halts."""
    said = [text for line in lines if (text := line.strip())]
    if not said or said[-1] != _HALTED:
        return said[-1] if said else ""
    begin = next((n for n in reversed(range(len(said))) if said[n].startswith(_ERROR)), None)
    if begin is None:
        return said[-2] if len(said) > 1 else said[-1]
    return " ".join(takewhile(lambda text: not text.startswith(_BEHIND_ERROR), said[begin:]))


def _found(pattern: re.Pattern[str], lines: Sequence[str]) -> list[str]:
    matches = (pattern.search(line.rstrip()) for line in lines)
    return list(dict.fromkeys(match[1] for match in matches if match))

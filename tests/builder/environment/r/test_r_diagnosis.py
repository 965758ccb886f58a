"""What R prints where it cannot install becomes a problem and an advice, or a note."""

import pytest

from builder.environment.diagnosis import explain
from builder.environment.r.diagnosis import last_said, notes_of_r

REACHED_NOT = "Warning: unable to access index for repository https://r.example.org/src/contrib:"


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("make: gcc: No such file or directory", "`r-base-dev`"),
        ("/bin/sh: 1: gfortran: not found", "`r-base-dev`"),
        ("cdsw-build.sh: line 1: Rscript: command not found", "`r-base-core`"),
        ("fast.cpp:1:10: fatal error: curl/curl.h: No such file or directory", "headers"),
        ("Configuration failed because libxml-2.0 was not found. Try installing:", "headers"),
        (REACHED_NOT, "variable CRAN"),
        ("renv.lock: cannot download dplyr 1.1 from https://r.example.org", "variable CRAN"),
        ("Error in library(dplyr) : there is no package called \u2018dplyr\u2019", "`r-cran-NAME`"),
        (
            "ERROR: dependency \u2018dplyr\u2019 is not available for package \u2018m\u2019",
            "before it",
        ),
        ("ERROR: compilation failed for package 'fast'", "needs no compiler"),
    ],
)
def test_failed_script_of_r_is_explained(line: str, advice: str) -> None:
    """The line that says why is the problem, and the advice names what to install or to set."""
    problem, told = explain(1, ["* installing *source* package", line, "Execution halted"])
    assert problem == line.strip()
    assert advice in told


def test_what_r_did_not_install_is_noted() -> None:
    """Packages that are not installed are named once; where no repository was reached, only that
    is told."""
    lines = [
        "Warning messages:",
        '1: In install.packages(c("a", "b")) :',
        "  installation of package \u2018a\u2019 had non-zero exit status",
        "  installation of package \u2018a\u2019 had non-zero exit status",
        "2: packages \u2018x\u2019, \u2018y\u2019 are not available for this version of R",
    ]
    assert list(notes_of_r(lines)) == [
        "R could not install a, and the script continued",
        "R found no package \u2018x\u2019, \u2018y\u2019, and the script continued",
    ]
    (unreached,) = notes_of_r([REACHED_NOT, *lines])
    assert unreached.startswith("R could not reach https://r.example.org. Check its address")
    assert not list(notes_of_r(["* DONE (a)"]))


def test_error_of_r_is_the_problem_of_a_script_without_a_rule() -> None:
    """The problem is the error, not the lines that R prints behind it."""
    error = ["Error in prepare() : ", "  no data of May", "Calls: run -> prepare"]
    warning = ["In addition: Warning message:", "In prepare() : it is late"]
    lines = ["Fitting", *error, *warning, "Execution halted", ""]
    assert explain(1, lines)[0] == "Error in prepare() : no data of May (exit status 1)"
    assert last_said(["Fitting", "Execution halted"]) == "Fitting"
    assert last_said(["Error: no", "Done "]) == "Done"
    assert not last_said([" "])

"""A project of R is checked by R's own parser before an environment is made."""

from typing import Any

import pytest

from builder.check.project_check import CheckReport, CheckRequest, check_project
from builder.interpreters import Interpreter
from tests.support.builder import Bench, run
from tests.support.r_packages import the_r

GOOD = "library(stats)\npredict <- function(args) list(x = args$x)\n"


async def checked(bench: Bench, run: Any = run, **changes: Any) -> CheckReport:
    request = CheckRequest(**{"file": "model.R", "function": "predict", **changes})
    interpreter: Interpreter = await the_r()
    return await check_project(request, await bench.take(), interpreter=interpreter, run=run)


def texts(report: CheckReport) -> str:
    return "\n".join(f"{each.problem} | {each.advice}" for each in report.problems)


async def test_good_project_passes(bench: Bench) -> None:
    """A function that takes the request passes, in each way of R to define one."""
    for text in (
        GOOD,
        "predict = function(x, ...) x\n",
        "(function(args) args) -> predict\n",
        '"predict" <<- function(args) args\n',
        "if (TRUE) predict <- function(a, b = 2) a\n",
        "predict <- cml::cml_model(function(args) args, metrics = TRUE)\n",
        "predict <- \\(args) args\n",
        'source("other.R")\n',
        'assign("predict", identity)\n',
        "caf\u00e9 <- 1\r\npredict <- function(args) args\r\n",
    ):
        bench.write("model.R", text)
        report = await checked(bench)
        assert (report.problems, report.notes) == ((), ()), text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("predict <- function(args) {\n  a ++* 1\n}\n", "line 2: unexpected '*'"),
        ("predict <- function(args) {\n", "unexpected end of input"),
        ("predict <- function() 1\n", "predict() is called with one argument"),
        ("predict <- 3\n", "'predict' is no function but a number"),
        ("predct <- function(a) a\n", "its functions are: predct | Did you mean 'predct'?"),
        ("f <- function() { predict <- function(a) a }\n", "defines no 'predict'"),
        ("caf\xe9 <- function(", "unexpected end of input"),
    ],
)
async def test_certain_problems_are_told(bench: Bench, text: str, told: str) -> None:
    """A syntax error is told with its line, a function with what is wrong with it."""
    bench.write("model.R", text.encode("latin-1"))
    assert told in texts(await checked(bench))


async def test_name_with_dots_is_a_function(bench: Bench) -> None:
    """Names of R may have dots."""
    bench.write("model.R", "predict.cars <- function(args) args\n")
    assert not (await checked(bench, function="predict.cars")).problems


async def test_file_of_another_language_is_told(bench: Bench) -> None:
    """A Python file under a kernel of R, and a notebook, are told with what to do."""
    bench.write("model.py", "def predict(args): return args\n")
    assert "the kernel is R" in texts(await checked(bench, file="model.py"))
    bench.write("model.Rmd", "# A\n")
    assert "knitr::purl" in texts(await checked(bench, file="model.Rmd"))
    bench.write("serve.R", GOOD)
    assert "Did you mean 'serve.R'?" in texts(await checked(bench, file="serve"))


async def test_installation_that_nothing_runs_is_a_note(bench: Bench) -> None:
    """`install.R` alone installs nothing; `renv.lock` does."""
    bench.write("model.R", GOOD)
    bench.write("install.R", 'install.packages("x")\n')
    report = await checked(bench)
    assert report.notes == ("install.R is not run: call `Rscript install.R` in cdsw-build.sh",)
    bench.write("renv.lock", "{}\n")
    report = await checked(bench)
    assert (report.notes, report.installs) == ((), "renv.lock")
    bench.write("cdsw-build.sh", "true\n")
    report = await checked(bench)
    assert report.notes == (
        "renv.lock is not mentioned in cdsw-build.sh, which alone installs packages",
    )


async def test_hostile_file_is_the_problem(bench: Bench) -> None:
    """A file that ends or stops the parser is told as one that R cannot read."""
    bench.write("model.R", "x <- " + "(" * 200_000 + "1" + ")" * 200_000)
    assert "not valid for R" in texts(await checked(bench))

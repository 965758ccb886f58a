"""`predictd init` finds the functions of a folder without running it."""

import re
from pathlib import Path

import pytest

from gateway.cli.commands.init import candidates, project_file
from tests.gateway.cli.conftest import Predictd


def test_functions_of_r_are_candidates(tmp_path: Path) -> None:
    """Functions of R that take one argument are found like those of Python."""
    (tmp_path / "model.R").write_text(
        "helper <- function(a, b) a\n"
        "predict.cars <- function(args) args\n"
        "score = function(args, digits = 2, ...) args\n"
        ".hidden <- function(args) args\n"
        "  inner <- function(args) args\n"
        "served <- cml_model(metrics = TRUE)(function(args) args)\n"
    )
    (tmp_path / "model.py").write_text("def predict(args): ...\n")
    found = [(each.file, each.function, each.is_likely) for each in candidates(tmp_path)]
    assert found == [
        ("model.R", "predict.cars", True),
        ("model.R", "score", True),
        ("model.R", "served", True),
        ("model.py", "predict", True),
    ]


def test_name_of_a_model_has_no_dots(tmp_path: Path) -> None:
    """A function of R with dots becomes a model whose name needs no quotes in the file."""
    (tmp_path / "model.R").write_text("predict.cars <- function(args) args\n")
    (one,) = candidates(tmp_path)
    text = project_file({"predict-cars": one})
    assert re.search(r'^\[models\.predict-cars\]\nfile = "model\.R"\n', text, re.MULTILINE)
    assert 'function = "predict.cars"' in text


def test_async_functions_are_candidates(tmp_path: Path) -> None:
    """A model may be a coroutine function."""
    (tmp_path / "model.py").write_text("async def predict(args): ...\n")
    assert [each.function for each in candidates(tmp_path)] == ["predict"]


@pytest.mark.parametrize(
    ("file", "text", "told", "advice"),
    [
        ("model.py", "x = (\n", "model.py, line 1 is not valid Python", "correct that line"),
        ("model.py", "def predict(): ...\n", "model.py:predict takes other", "let it take one"),
        ("model.ipynb", "{}", "'model.ipynb' is a notebook", "jupyter nbconvert"),
        ("model.py", "def _train(args): ...\n", "Python and R files of", "write one that takes"),
    ],
)
def test_what_hides_the_function_is_named(
    folder: Path, predictd: Predictd, file: str, text: str, told: str, advice: str
) -> None:
    """Where no function can be served, the likely reason and the next step are told."""
    (folder / "model.py").unlink()
    (folder / file).write_text(text)
    outcome = predictd("init", "--yes")
    assert outcome.code == 1
    error, hint = outcome.err.splitlines()
    assert (told in error, advice in hint) == (True, True), outcome.err

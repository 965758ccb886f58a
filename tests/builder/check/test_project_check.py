"""A snapshot is checked before an environment is made: certain problems, together, and notes."""

import sys
from pathlib import Path
from typing import Any

import pytest

from builder.check.project_check import (
    CheckFailed,
    CheckReport,
    CheckRequest,
    check_project,
    problem_here,
)
from builder.check.source import known_sources
from builder.interpreters import inspect
from builder.spec import Log, SandboxPaths
from tests.support.builder import Bench, run

GOOD = "def predict(args): return args\n"


async def checked(bench: Bench, run: Any = run, **changes: Any) -> CheckReport:
    request = CheckRequest(**{"file": "model.py", "function": "predict", **changes})
    interpreter = await inspect(Path(sys.executable))
    return await check_project(request, await bench.take(), interpreter=interpreter, run=run)


def texts(report: CheckReport) -> str:
    return "\n".join(f"{each.problem} | {each.advice}" for each in report.problems)


async def test_good_project_passes(bench: Bench) -> None:
    """A project that can be served has no problems and no notes, and its size is told."""
    bench.write("model.py", GOOD)
    report = await checked(bench)
    assert (report.problems, report.notes) == ((), ())
    assert report.contents.summary() == f"1 file, {len(GOOD)} B"
    assert not list(bench.store.parent.glob("checking-*"))


async def test_unchanged_file_is_looked_at_once(bench: Bench, tmp_path: Path) -> None:
    """The interpreter reads a file again when it, the function or the project is another one."""
    commands: list[list[str]] = []

    async def counted(command: list[str], **more: Any) -> int:
        commands.append(command)
        return await run(command, **more)

    interpreter, known = await inspect(Path(sys.executable)), known_sources()

    async def looks(bench: Bench, source: str, function: str = "predict") -> int:
        before = len(commands)
        bench.write("model.py", source)
        asked = CheckRequest(file="model.py", function=function), await bench.take()
        report = await check_project(*asked, interpreter=interpreter, run=counted, known=known)
        assert bool(report.problems) == (function not in source)
        return len(commands) - before

    (tmp_path / "other").mkdir()
    assert await looks(bench, GOOD) == 1
    bench.write("another.txt", "changed")
    assert await looks(bench, GOOD) == 0
    assert await looks(bench, GOOD, "other") == 1
    assert await looks(bench, GOOD, "other") == 0
    assert await looks(bench, GOOD + "# changed\n") == 1
    assert await looks(Bench(tmp_path / "other"), GOOD) == 1


async def test_problems_are_told_together(bench: Bench) -> None:
    """All problems are told at once, each with its advice."""
    bench.write("serve.py", "def predict(a, b): return 1\n")
    bench.write("build.sh", "echo\n".encode("utf-16"))
    report = await checked(bench, file="serve.py", script="build.sh")
    assert len(report.problems) == 2
    assert "build.sh is UTF-16" in texts(report)
    assert "serve.py: predict(a, b) is called with one argument" in texts(report)
    with pytest.raises(CheckFailed, match=r"1\. build\.sh .*\n2\. serve\.py") as caught:
        report.raise_problems()
    assert "iconv" in caught.value.advice


@pytest.mark.parametrize("asked", ["serve", "server.py", "src/serve.py"])
async def test_mistyped_file_is_told_with_the_one_meant(bench: Bench, asked: str) -> None:
    """A file that does not exist is told with a similar name."""
    bench.write("serve.py", GOOD)
    assert "Did you mean 'serve.py'?" in texts(await checked(bench, file=asked))


async def test_mistyped_function_is_told_with_the_one_meant(bench: Bench) -> None:
    """A function that the file does not define is told with a similar name, and all names."""
    bench.write("model.py", GOOD + "def other(): pass\n")
    told = texts(await checked(bench, function="predct"))
    assert told == (
        "model.py defines no 'predct'; its functions are: predict, other | Did you mean 'predict'?"
    )


async def test_ignored_file_is_told_with_the_line_of_the_gitignore(bench: Bench) -> None:
    """A model's file that a .gitignore excludes is told with file, line and pattern."""
    bench.write("src/model.py", GOOD)
    bench.write("src/.gitignore", "# none\n\n*.py\n!other.py\n")
    told = texts(await checked(bench, file="src/model.py"))
    assert "line 3 of src/.gitignore (`*.py`) excludes it" in told
    bench.write(".gitignore", "src/\n")
    told = texts(await checked(bench, file="src/model.py"))
    assert "line 1 of .gitignore (`src/`) excludes it" in told


async def test_file_that_the_script_makes_is_a_note(bench: Bench) -> None:
    """With a build script a missing file is a note, since the script may make it."""
    bench.write("cdsw-build.sh", "python make.py\n")
    report = await checked(bench)
    assert not report.problems
    assert report.notes == (
        "'model.py' is not a file of the project: cdsw-build.sh has to make it",
    )


async def test_file_that_the_script_names_is_a_note(bench: Bench) -> None:
    """An error in a file that the script names is a note, since the script may correct it."""
    bench.write("model.py", "def predict({{ARGS}}): return 1\n")
    bench.write("cdsw-build.sh", "sed -i s/{{ARGS}}/args/ model.py\n")
    report = await checked(bench)
    assert not report.problems
    assert "cdsw-build.sh names the file" in report.notes[0]
    bench.write("cdsw-build.sh", "pip install x\n")
    assert "is not valid for Python" in texts(await checked(bench))


async def test_file_behind_a_link_passes(bench: Bench) -> None:
    """A file that is reached by a link within the project cannot be told, so it passes."""
    bench.write("src/model.py", "not python\n")
    (bench.project / "model.py").symlink_to("src/model.py")
    (bench.project / "linked").symlink_to("src")
    assert not (await checked(bench)).problems
    assert not (await checked(bench, model_root="linked")).problems


@pytest.mark.parametrize(
    ("names", "script", "told"),
    [
        (["requirements.txt"], None, ""),
        (["requirements.txt"], "pip install -r requirements.txt", ""),
        (["requirements.txt"], "pip install trio", "requirements.txt is not mentioned in cdsw-"),
        (["requirements.txt", "uv.lock"], "pip install -r requirements.txt", ""),
        (["Pipfile"], None, "Pipfile is not read"),
        (["environment.yml"], "pip install trio", "environment.yml is not mentioned"),
        (["environment.yml"], "conda env create -f environment.yml", ""),
        (["environment.yml", "requirements.txt"], None, ""),
    ],
)
async def test_unused_requirements_are_noted(
    bench: Bench, names: list[str], script: str | None, told: str
) -> None:
    """A file of requirements that nothing names is a note, never a refusal."""
    bench.write("model.py", GOOD)
    for name in names:
        bench.write(name)
    if script is not None:
        bench.write("cdsw-build.sh", script)
    report = await checked(bench)
    assert not report.problems
    assert "\n".join(report.notes).startswith(told)
    assert bool(report.notes) == bool(told)


async def test_project_for_conda_is_refused_by_name(bench: Bench) -> None:
    """A project whose only requirements are conda's is told so."""
    bench.write("model.py", GOOD)
    bench.write("environment.yml", "dependencies: [numpy]\n")
    assert "environment.yml is for conda" in texts(await checked(bench))


async def test_script_of_windows_is_a_note(bench: Bench) -> None:
    """Windows line ends of a script are told, and do no harm."""
    bench.write("model.py", GOOD)
    bench.write("cdsw-build.sh", "echo\r\n")
    report = await checked(bench)
    assert report.notes == ("cdsw-build.sh has Windows line ends, which the build leaves out",)


@pytest.mark.parametrize(("status", "told"), [(-11, "crashes"), (139, "crashes"), (1, "")])
async def test_parser_that_crashes_is_a_problem_of_the_project(
    bench: Bench, status: int, told: str
) -> None:
    """A parser that is killed has met a file that no model starts from. Another failure of the
    process tells nothing about the file."""
    bench.write("model.py", GOOD)

    async def crashing(command: list[str], **_: object) -> int:
        return status

    assert told in texts(await checked(bench, crashing))
    assert bool(told) == bool(texts(await checked(bench, crashing)))


async def test_file_is_parsed_confined_and_in_time(bench: Bench) -> None:
    """The build's interpreter parses a copy of the file, which is all that it sees; a parser that
    does not end is a problem of the project."""
    bench.write("model.py", GOOD)
    seen: list[SandboxPaths] = []

    async def endless(command: list[str], *, paths: SandboxPaths, log: Log, **_: object) -> int:
        shown, program = paths.read
        assert (program.name, program.read_text()[:3]) == ("program", '"""')
        seen.append(paths)
        assert [each.name for each in shown.iterdir()] == ["source"]
        assert str(bench.project) not in " ".join(command)
        raise TimeoutError

    assert "needs more than 15 s" in texts(await checked(bench, endless))
    assert len(seen) == 1


async def test_left_out_files_are_counted_and_named(bench: Bench) -> None:
    """One line of the log says what the snapshot has, and what it leaves out and why."""
    bench.write("model.py", "x" * 1000)
    bench.write("model.joblib", "x" * 9_100_000)
    bench.write("data/set.csv", "x")
    bench.write(".venv/pyvenv.cfg")
    bench.write(".gitignore", "*.joblib\ndata/\n")
    report = await checked(bench, file="model.py")
    assert bench.log.lines[-1] == (
        "2 files, 1.0 kB; left out by .gitignore: model.joblib (9.1 MB), data/; "
        "left out, since each build has its own: .venv"
    )
    assert report.contents.rule_for("data/set.csv") == "line 2 of .gitignore (`data/`)"


@pytest.mark.parametrize(
    ("source", "script", "told"),
    [
        (GOOD, None, ""),
        ("def other(args): return 1\n", None, "defines no 'predict'"),
        ("def predict(a, b): return 1\n", None, "is called with one argument"),
        ("def predict(args: return 1\n", None, ""),  # perhaps another Python can read it
        ("from other import *\n", None, ""),
        ("x = '\\d'\n", b"cp template.py model.py", ""),
        ("x = '\\d'\n", b"pip install numpy", "defines no 'predict'"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_problem_that_is_told_before_an_upload(
    source: str, script: bytes | None, told: str
) -> None:
    """Only what each Python of a build would refuse is told in this process, without warnings."""
    asked = CheckRequest(file="model.py", function="predict")
    found = problem_here(asked, source.encode(), script)
    assert (found is None) == (told == "")
    assert found is None or told in found.problem


@pytest.mark.parametrize(
    ("stated", "noted"),
    [
        (">=3.99", True),
        (">=3.8,<3.9", True),
        (">=3.8", False),
        (">= 3.8.0, < 4.0", False),
        ("~=3.99", False),  # what is not compared passes
    ],
)
async def test_python_of_the_project_is_compared(bench: Bench, stated: str, noted: bool) -> None:
    """A project that asks for another Python than that of the build is told so, and is built."""
    bench.write("model.py", GOOD)
    bench.write("pyproject.toml", f'[project]\nname = "a"\nrequires-python = "{stated}"\n')
    report = await checked(bench)
    assert report.problems == ()
    assert [
        each.startswith(f"pyproject.toml requires Python {stated}") for each in report.notes
    ] == ([True] if noted else [])


@pytest.mark.parametrize(
    "text", ["[project", "[project]\nrequires-python = 3\n", "project = 1\n", ""]
)
async def test_odd_pyproject_has_no_note(bench: Bench, text: str) -> None:
    """A file that cannot be read as expected is left to what installs it."""
    bench.write("model.py", GOOD)
    bench.write("pyproject.toml", text)
    assert (await checked(bench)).notes == ()

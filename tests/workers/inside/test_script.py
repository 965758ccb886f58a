"""How the script of an experiment is run."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.inside.conversation import INSIDE

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_script(
    python: str | Path, root: Path, file: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, INSIDE / "run.py", file, *arguments],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "HOME": str(root), "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def run(python: Path, tmp_path: Path) -> Run:
    """`run(source, *arguments, NAME=value...)` runs a script of a project."""

    def run(
        source: str | bytes, *arguments: str, file: str = "script.py", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return run_script(python, tmp_path, file, *arguments, **environment)

    return run


PLAIN = '''"""No value, but a docstring."""
from __future__ import annotations
import pickle
import beside
from src.utils import x
assert __name__ == "__main__" and __file__.endswith("code/my script.py")
class Line: ...
def annotated(a: undefined): ...
assert isinstance(pickle.loads(pickle.dumps(Line())), Line)
sys.argv
x + 1
None
{"semicolon": 1};
_ * 2
for i in range(2):
    i
"text"
print("größe", end="")
'''


def test_script_runs_as_main(run: Run, tmp_path: Path) -> None:
    """A script is __main__, finds modules beside the root and itself, has `sys` and its arguments,
    and the values of bare expressions are shown."""
    for file, source in {"src/utils.py": "x = 41\n", "code/beside.py": ""}.items():
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(source)
    done = run(PLAIN, "5", "a b", file="code/my script.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "['code/my script.py', '5', 'a b']\n42\n84\ngröße"


INTERACTIVE = '''
%matplotlib inline
import os
from __future__ import annotations
n: absent = 3
text = """
!echo not a command
%pip neither
"""
!echo one {n} $n ${HOME} {absent} | tr a-z A-Z; echo "isn't it"
listed = !printf 'a\\nb\\n'
listed
%env GREETING=hello
if n == 3:
    !echo $GREETING \\
        world
def inner(local):
    !echo "{local + 1}"
inner(
    10
    % 4)
!exit 7
_exit_code
%cd sub
os.path.basename(os.getcwd())
!{sys.executable} -c "import cdsw; print(cdsw.track_metric.__name__)"
!for dir in a b; do echo $dir; done | awk '$1 > "a" {print}'
%ls ../wanted*
text
'''


def test_script_lines_of_ipython_work(run: Run, tmp_path: Path) -> None:
    """%magic, !command and name = !command work only where a statement begins, with values of the
    script substituted; a command that fails is reported and does not end the script."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "wanted.csv").write_text("")
    done = run(INTERACTIVE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"ONE 3 3 {str(tmp_path).upper()} {{ABSENT}}",
        "isn't it",
        "['a', 'b']",
        "hello world",
        "3",
        "7",
        "'sub'",
        "track_metric",
        "b",
        "../wanted.csv",
        r"'\n!echo not a command\n%pip neither\n'",
    ]
    assert done.stderr.splitlines() == [
        "%matplotlib inline: passed over, as this is a script",
        "!exit 7: exit status 7",
    ]


NOTEBOOK = """
get_ipython().run_line_magic('matplotlib', 'inline')
get_ipython().magic('%env GREETING=said')
get_ipython().system('echo $GREETING')
listed = get_ipython().getoutput('echo {1 + 1}')
get_ipython().run_cell_magic('time', '', 'n = 3\\nn')
%time n += 1
display(listed, n)
"""


def test_script_exported_from_a_notebook_works(run: Run) -> None:
    """A script exported from a notebook finds `get_ipython` and `display`; timings are those of the
    script alone. A notebook itself is refused by name."""
    done = run(NOTEBOOK)
    assert done.returncode == 0, done.stderr
    said, shown, *timed, listed, n = done.stdout.splitlines()
    assert (said, shown, listed, n) == ("said", "3", "['2']", "4")
    assert [line.split()[:2] for line in timed] == [["Wall", "time:"]] * 2
    done = run('{"cells": []}', file="fit.ipynb")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fit.ipynb is a notebook; ")


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("import sys\nsys.exit(3)", 3, []),
        ("!true\nsys.exit('the reason')", 1, ["the reason"]),
        (
            "!true\n\ndef fail():\n    1 / 0\nfail()",
            1,
            ["line 5, in <module>", "    fail()", "line 4, in fail", "    1 / 0", "ZeroDivision"],
        ),
        ("x = 1\nif x\n", 1, ["script.py", "line 2", "SyntaxError"]),
        ("!true\nif x\n", 1, ["script.py", "line 2", "SyntaxError"]),
        ("# coding: nonsense\n", 1, ["SyntaxError"]),
        ("!true\n%sql select 1", 1, ["line 2", "NotImplementedError: %sql is not known here"]),
        ("import os\nos._exit(4)", 4, []),
        ("sys.excepthook = lambda *_: print('mine', file=sys.stderr)\n1/0", 1, ["mine"]),
    ],
)
def test_script_end_has_its_status_and_traceback(
    run: Run, source: str, status: int, said: list[str]
) -> None:
    """The exit status is the script's; tracebacks have its lines and none of ours."""
    done = run(source)
    assert done.returncode == status
    places = [done.stderr.find(text) for text in said]
    assert -1 not in places, done.stderr
    assert places == sorted(places)
    assert "predictd_inside/script.py" not in done.stderr
    assert done.stderr or not said


def test_the_encoding_cookie_counts(run: Run) -> None:
    """Source is read in the encoding that it declares, with any lines in it."""
    for first in ("", "!true\n"):
        source = f"# -*- coding: latin-1 -*-\n{first}print('Größe')\n".encode("latin-1")
        assert run(source).stdout == "Größe\n"


RUN = """
import cdsw
from cml.metrics_v1 import track_file
cdsw.track_metric("mean_sq_err", 0.5)
cdsw.track_metric("classes", "größe")
for value in ([1], {}, (1,), b""):
    try:
        cdsw.track_metric("a", value)
    except TypeError as problem:
        print(problem)
try:
    cdsw.track_metric(1, 1)
except TypeError as problem:
    print(problem)
open("model.pkl", "w").close()
!mkdir -p data/deep && echo 5 >data/deep/truth.csv
cdsw.track_file("model.pkl")
track_file("data/deep/truth.csv")
track_file("data")
track_file("../outside.txt")
track_file("..")
try:
    track_file("absent")
except FileNotFoundError:
    print("absent")

@cdsw.model_metrics
def predict(args):
    cdsw.track_metric("tried", args)
predict(1);
"""


def test_run_keeps_its_metrics_and_files(run: Run, tmp_path: Path) -> None:
    """In an experiment a metric is a line of the run's file and must be a single value; a file is
    copied by its name beneath the root. What a model's function tracks stays its own."""
    (tmp_path / "project" / "root").mkdir(parents=True)
    (tmp_path / "project" / "outside.txt").write_text("")
    metrics, output = tmp_path / "metrics", tmp_path / "output"
    environment = {"PREDICTD_RUN_METRICS": str(metrics), "CDSW_OUTPUT_DIR": str(output)}
    done = run(f"import os\nos.chdir('project/root')\n{RUN}", **environment)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [(line["key"], line["value"]) for line in lines] == [
        ("mean_sq_err", 0.5),
        ("classes", "größe"),
    ]
    assert all(line["time"] > 1_700_000_000_000 for line in lines)
    *kinds, key, absent = done.stdout.splitlines()
    assert [line.split(" is ")[0] for line in kinds[:3]] == [
        f"track_metric('a'): a value of type '{kind}'" for kind in ("list", "dict", "tuple")
    ]
    assert "'bytes' cannot be said" in kinds[3]
    assert (key, absent) == ("track_metric: the key 1 is of type 'int', no str", "absent")
    kept = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    own = {"model.pkl", "data/deep/truth.csv"}
    above = {"project/outside.txt", *(f"project/root/{name}" for name in own)}
    assert kept == {*own, "outside.txt", *above}


def wheel(folder: Path, name: str, version: str) -> None:
    """A distribution of one module, which says its version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", f"version = {version!r}\n")
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


PIP = """
%pip install --user --no-index --find-links wheels sample_one
import sample_one
sample_one.version
!{sys.executable} -m pip -q install --user --no-index --find-links wheels -U 'sample_one>=2'  # new
!{sys.executable} -c "import sample_one; print(sample_one.version)"
!python3 -m pip install "pip>=1"
!pip install --no-index 'absent-too>=1' >/dev/null || echo gone on
!pip3 install --user --no-index --find-links wheels sample_two >/dev/null && echo two
import sample_two, subprocess
pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--find-links", "wheels"]
subprocess.check_call([*pip, "sample_three", "pip"])
import sample_three
!pip uninstall -y pip
%pip install --no-index absent-package
print(_exit_code)
"""


def test_packages_installed_by_a_script_belong_to_the_run(tmp_path: Path) -> None:
    """A package that a script installs is importable at once, also in its child processes, and lies
    in the run's home; a package that is present is not installed, and no index is asked."""
    (tmp_path / "wheels").mkdir()
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", "sample_one", version)
    wheel(tmp_path / "wheels", "sample_two", "1.0")
    wheel(tmp_path / "wheels", "sample_three", "1.0")
    first = PIP.replace(" sample_one\n", " sample_one==1.0\n", 1)
    (tmp_path / "script.py").write_text(first)
    done = run_script(sys.executable, tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line[:1] in "'2"] == ["'1.0'", "2.0"]
    assert "Requirement already satisfied: pip>=1" in done.stdout
    assert "\ngone on\n" in done.stdout
    assert "\ntwo\n" in done.stdout
    assert done.stdout.endswith("\n1\n")
    assert "%pip uninstall -y pip: passed over" in done.stderr
    assert "%pip install --no-index absent-package: exit status 1" in done.stderr
    for name in ("one", "two", "three"):
        [found] = tmp_path.rglob(f"sample_{name}.py")
        assert str(found.relative_to(tmp_path)).startswith(".local/lib/python3")

"""Each cause for which a model's file did not run has its own words and remedy."""

from pathlib import Path

import msgspec
import pytest

from gateway.control.failure_causes import CORRECT, remedy
from gateway.control.failures import script_failed
from gateway.control.source_files import SourceFiles
from tests.support.builder import Bench
from workers import Ended, Line
from workers.limits import ExitReason

PICKLED = 'File "load.py", line 3, in <module>\n  pickle.load(file)\n'
CASES = {
    "left out by .gitignore": (
        "FileNotFoundError: [Errno 2] No such file or directory: 'model.pkl'",
        "",
        "a .gitignore excludes it",
    ),
    "the same by its absolute path": (
        "FileNotFoundError: [Errno 2] No such file or directory: '/home/cdsw/model.pkl'",
        "",
        "a .gitignore excludes it",
    ),
    "not in the project": (
        "FileNotFoundError: [Errno 2] No such file or directory: 'absent.pkl'",
        "",
        "Add absent.pkl to the project",
    ),
    "elsewhere on the machine": (
        "FileNotFoundError: [Errno 2] No such file or directory: '/data/model.pkl'",
        "",
        "`shared_folders`",
    ),
    "a sibling import": (
        "ModuleNotFoundError: No module named 'helper'",
        "",
        "write `from code import helper`, or make 'code' the model's root",
    ),
    "a module left out by .gitignore": (
        "ModuleNotFoundError: No module named 'hidden'",
        "",
        "`hidden` is a file of the project that is not in the build, because a .gitignore",
    ),
    "a module of an empty folder": (
        "ModuleNotFoundError: No module named 'empty.lib'",
        "",
        "empty is an empty folder of the project. If it is a submodule of git, run `git submodule",
    ),
    "a module of an empty folder that the build has": (
        "ModuleNotFoundError: No module named 'bare.lib'",
        "",
        "bare is an empty folder of the project",
    ),
    "a module that a folder of the build lacks": (
        "ModuleNotFoundError: No module named 'code.absent'",
        "",
        "`code` is a folder of the project, and has no `absent`",
    ),
    "a module in a folder that the build has": (
        "ModuleNotFoundError: No module named 'code.hidden'",
        "",
        "`code.hidden` is a file of the project that is not in the build, because a .gitignore",
    ),
    "a module that is not installed": (
        "ModuleNotFoundError: No module named 'sklearn'",
        "",
        "Have cdsw-build.sh install the package of `sklearn`, such as `pip install scikit-learn`",
    ),
    "a pickle of another version": (
        "AttributeError: Can't get attribute '__pyx_unpickle' on <module 'sklearn'>",
        PICKLED,
        "other versions of the libraries",
    ),
    "a module that only a pickle asks for": (
        "ModuleNotFoundError: No module named 'sklearn.linear_model.base'",
        PICKLED,
        "other versions of the libraries",
    ),
    "a pickle of Python 2": (
        "UnicodeDecodeError: 'ascii' codec can't decode byte 0x98 in position 4",
        PICKLED,
        'encoding="latin1"',
    ),
    "an ordinary UnicodeDecodeError": (
        "UnicodeDecodeError: 'ascii' codec can't decode byte 0x98 in position 4",
        "",
        CORRECT,
    ),
    "Spark without Java": (
        "PySparkRuntimeError: [JAVA_GATEWAY_EXITED] Java gateway process exited",
        "",
        "Spark's Java process did not start",
    ),
    "an example longer than the time-out": (
        "it did not answer within 30 s",
        "",
        "`model_request_timeout`",
    ),
    "a pickle of a newer Python": ("ValueError: unsupported pickle protocol: 5", "", "--kernel"),
    "a pointer of Git LFS": ("UnpicklingError: invalid load key, 'v'.", "", "git lfs pull"),
    "a variable that was not given": (
        "KeyError: 'TOKEN'",
        'TOKEN = os.environ["TOKEN"]\n  File "<frozen os>", line 680, in __getitem__',
        "--env TOKEN=VALUE",
    ),
    "an ordinary KeyError": ("KeyError: 'TOKEN'", "rows['TOKEN']", CORRECT),
    "a load longer than the time-out": (
        "the model was not ready within 60 s",
        "",
        "`model_start_timeout`",
    ),
    "a submodule that is not in the clone": (
        "ModuleNotFoundError: No module named 'lent'",
        "",
        "lent is a submodule that is not in the clone",
    ),
    "no GPU": ("RuntimeError: Attempting to deserialize object on a CUDA device", "", "CPU"),
    "no system library": (
        "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
        "",
        "The system library libGL.so.1",
    ),
    "no Python": ("SyntaxError: invalid syntax (model.py, line 3)", "", "plain Python"),
    "no such function": ("AttributeError: model.py defines no 'x'; it", "", "FILE:FUNCTION"),
    "all else": ("ValueError: wrong shape", "", CORRECT),
}


@pytest.fixture
def source(tmp_path: Path) -> SourceFiles:
    """A build of code/model.py, and the project with what a .gitignore leaves out."""
    project, build = tmp_path / "project", tmp_path / "build"
    for folder in (project, build):
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "helper.py").touch()
    (build / ".gitmodules").write_text('[submodule "lent"]\n\tpath = lent\n')
    (project / "model.pkl").touch()
    (project / "hidden.py").touch()
    (project / "code" / "hidden.py").touch()
    (project / "empty").mkdir()
    (build / "bare").mkdir()
    return SourceFiles(build, "", "code/model.py", has_script=True, project=project)


@pytest.mark.parametrize(("summary", "detail", "advice"), CASES.values(), ids=list(CASES))
def test_each_cause_has_its_remedy(
    source: SourceFiles, summary: str, detail: str, advice: str
) -> None:
    """The advice fits the cause, not just the exception."""
    assert advice in remedy(summary, detail, source)


async def test_missing_file_names_the_line_of_the_gitignore(tmp_path: Path) -> None:
    """A file that a .gitignore keeps out of the build is told with file, line and pattern."""
    bench = Bench(tmp_path)
    for name in ("model.py", "model.joblib", "data/set.csv", "hidden.py"):
        bench.write(name)
    bench.write(".gitignore", "*.joblib\n# data\ndata/\nhidden*\n")
    source = SourceFiles(tmp_path, "", "model.py", has_script=True, snapshot=await bench.take())
    for path, line in (
        ("model.joblib", "line 1 of .gitignore (`*.joblib`)"),
        ("/home/cdsw/data/set.csv", "line 3 of .gitignore (`data/`)"),
    ):
        missing = f"FileNotFoundError: [Errno 2] No such file or directory: {path!r}"
        assert f"because {line} excludes it" in remedy(missing, "", source)
    missing = "ModuleNotFoundError: No module named 'hidden'"
    assert "because line 4 of .gitignore (`hidden*`) excludes it" in remedy(missing, "", source)


def test_path_of_another_copy_of_the_project_is_told(source: SourceFiles) -> None:
    """A path in a home folder is told with the path of the same file in the build."""
    (source.code / "data").mkdir()
    (source.code / "data/set.csv").touch()
    missing = "FileNotFoundError: [Errno 2] No such file or directory: '/home/me/p/data/set.csv'"
    assert "open 'data/set.csv' instead" in remedy(missing, "", source)


def test_advice_does_not_reveal_files_of_the_machine(source: SourceFiles, tmp_path: Path) -> None:
    """A model cannot learn which files the machine has by links of its project."""
    assert source.project
    (source.project / "link").symlink_to("/etc")
    for path in ("link/passwd", "../build", "a\0b"):
        told = remedy(
            f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'", "", source
        )
        assert "is in the project" not in told


def test_missing_module_without_a_build_script_names_the_script(source: SourceFiles) -> None:
    """Where nothing was installed a missing module is the missing script's."""
    bare = SourceFiles(source.code, "", "code/model.py", has_script=False, project=source.project)
    told = remedy("ModuleNotFoundError: No module named 'yaml'", "", bare)
    assert told.startswith("Nothing is installed, because the project has no cdsw-build.sh")
    assert "requirements.txt with the line `pyyaml`" in told
    (source.code / "requirements.txt").touch()
    told = remedy("ModuleNotFoundError: No module named 'yaml'", "", bare)
    assert told == "Add the package of `yaml` to requirements.txt, such as `pyyaml`."


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'model.pkl'", ".gitignore"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x.csv'", "the project's root"),
        ("ModuleNotFoundError: No module named 'yaml'", "pip install pyyaml"),
        ("ValueError: wrong shape", "Correct the script. Its log has the full traceback."),
    ],
)
def test_script_has_the_remedies_of_a_model(source: SourceFiles, last: str, told: str) -> None:
    """The script of an experiment fails for the causes for which a model's file does."""
    script = msgspec.structs.replace(source, is_script=True)
    ended = Ended(1, ExitReason("exited with status 1"))
    printed = [Line("", "stderr", text) for text in ("Traceback:", last)]
    failure = script_failed(ended, printed, script)
    assert (failure.problem, told in failure.advice) == (last, True), failure.advice

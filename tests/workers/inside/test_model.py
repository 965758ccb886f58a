"""How the file of a model is run, and how its function is found."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import (
    FAILED,
    INSIDE,
    PROJECTS,
    READY,
    Conversation,
)

ECHO = "def predict(args):\n    return args\n"


@pytest.mark.parametrize(
    "name",
    ["code/6_model_serve.py", "my.model.file.py", "with blank.py", "größe.py", "noextension"],
)
def test_model_file_may_have_any_name(converse: Converse, write_model: Any, name: str) -> None:
    """A model is run by its path, so its name need not be importable."""
    replica = converse()
    assert replica.start(write_model(ECHO, name), name, "predict").kind == READY
    assert replica.predict(5).body == 5


def test_model_has_the_root_as_current_folder_and_first_path(converse: Converse) -> None:
    """The root is the current directory and first on the path, once; nothing of ours is visible."""
    root = PROJECTS / "environment"
    replica = converse(GREETING="hello")
    assert replica.start(root, "environment.py", "report").kind == READY
    ours = ["start", "serve", "wire", "predictd_inside.absent"]
    report = replica.predict({"modules": ["environment", "json", *ours]}).body
    assert report["cwd"] == str(root)
    assert report["argv"] == ["environment.py"]
    assert report["sys_path"][0] == str(root)
    assert report["sys_path"].count(str(root)) == 1
    assert not [entry for entry in report["sys_path"] if str(INSIDE) in entry]
    assert report["environment"]["GREETING"] == "hello"
    assert report["importable"] == {
        "environment": True,
        "json": True,
        **dict.fromkeys(ours, False),
    }


def test_pythonsafepath_changes_nothing(converse: Converse) -> None:
    """PYTHONSAFEPATH, which keeps Python from adding a script's folder, changes nothing."""
    root = PROJECTS / "environment"
    replica = converse(PYTHONSAFEPATH="1")
    assert replica.start(root, "environment.py", "report").kind == READY
    assert replica.predict({}).body["sys_path"][0] == str(root)


def test_modules_of_the_project_can_be_imported(converse: Converse, write_model: Any) -> None:
    """`from src.utils import x` works from the root, with the file in any folder."""
    write_model("x = 42\n", "src/utils.py")
    root = write_model("from src.utils import x\ndef predict(args):\n    return x\n", "code/m.py")
    replica = converse()
    assert replica.start(root, "code/m.py", "predict").kind == READY
    assert replica.predict(None).body == 42


def test_pickled_classes_resolve(converse: Converse, write_model: Any) -> None:
    """An object pickled by the file when run as a script is one of the model's own classes."""
    root = write_model(
        "import pickle, sys\n"
        "class Line:\n"
        "    pass\n"
        "def predict(args):\n"
        "    by_a_script = b'c__main__\\nLine\\n)\\x81.'\n"
        "    line = pickle.loads(b'\\x80\\x02' + by_a_script)\n"
        "    return isinstance(line, Line) and isinstance(pickle.loads(pickle.dumps(line)), Line)\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body is True


def test_main_block_of_a_model_does_not_run(converse: Converse, write_model: Any) -> None:
    """A block beneath `if __name__ == "__main__"` does not run; __file__ is the file."""
    root = write_model(
        "if __name__ == '__main__':\n    raise SystemExit('run as a script')\n"
        "class Named:\n    name = __name__\n"
        "def predict(args):\n    return [__name__, Named.name, __file__]\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    *names, file = replica.predict(None).body
    assert names == ["__mp_main__", "__mp_main__"]
    assert file == str(root / "model.py")


SUBPROCESSES = """
import multiprocessing, pickle, sys
class Doubled:
    class Part:
        def __init__(self, value):
            self.value = value
    def __init__(self, value):
        self.part = Doubled.Part(2 * value)
    def get(self):
        return self.part.value
def double(value):
    return Doubled(value)
def get(doubled):
    return Doubled.get(doubled)
def run(method):
    if method == "loky":
        from joblib import Parallel, delayed
        doubled = Parallel(2)(delayed(double)(value) for value in [1, 21])[1]
        got = Parallel(2)(delayed(get)(doubled) for _ in range(2))[1]
    else:
        with multiprocessing.get_context(method).Pool(1) as pool:
            [doubled] = pool.map(double, [21])
            [got] = pool.map(get, [doubled])
    return [got, isinstance(doubled, Doubled), isinstance(doubled.part, Doubled.Part)]
early = [run(method) for method in METHODS]
def predict(args):
    return [early, run(args)]
if __name__ == "__main__":
    raise SystemExit("run as a script")
"""


@pytest.mark.parametrize("name", ["model.py", "code/6_model_serve.py", "my.model.file.py"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_finds_definitions_of_the_file(
    converse: Converse, write_model: Any, method: str, name: str
) -> None:
    """Functions, classes and classes in classes go to processes of multiprocessing and come back,
    with any name of the file; with those that fork also while it is loaded. (Others run the file
    first, which would start them again.)"""
    early = ["fork"] if method == "fork" else []
    root = write_model(SUBPROCESSES.replace("METHODS", repr(early)), name)
    replica = converse()
    assert replica.start(root, name, "predict").kind == READY
    done = [42, True, True]
    assert replica.predict(method).body == [[done for _ in early], done]


@pytest.mark.parametrize("name", ["model.py", "code/6_model_serve.py", "my.model.file.py"])
def test_joblib_finds_definitions_of_the_file(tmp_path: Any, write_model: Any, name: str) -> None:
    """The processes of joblib, which do not run the file, get its definitions by value."""
    pytest.importorskip("joblib")
    root = write_model(SUBPROCESSES.replace("METHODS", "['loky']"), name)
    replica = Conversation(Path(sys.executable), tmp_path, {})
    try:
        assert replica.start(root, name, "predict").kind == READY
        assert replica.predict("loky").body == [[[42, True, True]], [42, True, True]]
    finally:
        replica.close()


def test_current_folder_is_on_the_path(converse: Converse, write_model: Any) -> None:
    """After `os.chdir` modules of the new current folder can be imported, as in a session."""
    write_model("x = 42\n", "code/nearby.py")
    root = write_model(
        "import os\nos.chdir('code')\nfrom nearby import x\n"
        "def predict(args):\n    os.chdir(args)\n    import later\n    return [x, later.y]\n"
    )
    write_model("y = 43\n", "data/later.py")
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict("../data").body == [42, 43]


def test_definitions_of_the_file_belong_to_main(converse: Converse, write_model: Any) -> None:
    """Libraries that pass definitions of `__main__` by value, as joblib does, recognise those of
    the file."""
    root = write_model(
        "from json import dumps\n"
        "class Line: ...\n"
        "def predict(args):\n"
        "    return [thing.__module__ for thing in (predict, Line, Line(), dumps)]\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body == ["__main__"] * 3 + ["json"]


def test_the_encoding_cookie_counts(converse: Converse, write_model: Any) -> None:
    """Source is read in the encoding that it declares."""
    source = "# -*- coding: latin-1 -*-\ndef predict(args):\n    return 'Größe'\n".encode("latin-1")
    replica = converse()
    assert replica.start(write_model(source), "model.py", "predict").kind == READY
    assert replica.predict(None).body == "Größe"


def test_future_imports_are_not_inherited(converse: Converse, write_model: Any) -> None:
    """Annotations of the model are evaluated as it states, not as our own files do."""
    root = write_model(
        "def predict(args: int):\n    return isinstance(predict.__annotations__['args'], type)\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body is True


def test_source_of_a_function_is_available(converse: Converse, write_model: Any) -> None:
    """Libraries that read the source of a function (inspect does) find it."""
    root = write_model(
        "import inspect\ndef predict(args):\n    return inspect.getsource(predict)\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body.startswith("def predict(args):")


FUNCTIONS = (
    "from os.path import join\n"
    "limit = 3\n"
    "class Model:\n    def __call__(self, args):\n        return 'called'\n"
    "def predict(args): ...\n"
    "def train(args): ...\n"
    "instance = Model()\n"
)


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        ("predct", "AttributeError", "model.py defines no 'predct'"),
        ("limit", "TypeError", "'limit' in model.py is no function but of type 'int'"),
    ],
)
def test_missing_function_error_lists_the_functions(
    converse: Converse, write_model: Any, function: str, kind: str, message: str
) -> None:
    """The error lists the functions that the author could have meant."""
    failed = converse().start(write_model(FUNCTIONS), "model.py", function)
    assert (failed.kind, failed.body["type"]) == (FAILED, kind)
    assert failed.body["message"].startswith(message)
    assert failed.body["message"].endswith("defines: predict, train, instance")


def test_callable_instance_is_a_function(converse: Converse, write_model: Any) -> None:
    """An instance with __call__ serves as well as a def."""
    replica = converse()
    assert replica.start(write_model(FUNCTIONS), "model.py", "instance").kind == READY
    assert replica.predict(None).body == "called"


def test_missing_model_file_is_named(converse: Converse, write_model: Any) -> None:
    """The error of a missing file names it."""
    failed = converse().start(write_model(ECHO), "absent.py", "predict")
    assert (failed.kind, failed.body["type"]) == (FAILED, "FileNotFoundError")
    assert "absent.py" in json.dumps(failed.body["message"])


def test_files_of_other_systems_are_read(converse: Converse, write_model: Any) -> None:
    """Line ends of other systems and a byte order mark are read; UTF-16 is named as such."""
    for source in (
        b"\xef\xbb\xbf" + ECHO.encode(),
        ECHO.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbfname = __name__\r\n" + ECHO.replace("\n", "\r\n").encode(),
    ):
        replica = converse()
        assert replica.start(write_model(source), "model.py", "predict").kind == READY
        assert replica.predict(5).body == 5
    failed = converse().start(write_model(ECHO.encode("utf-16")), "model.py", "predict")
    assert (failed.kind, failed.body["type"]) == (FAILED, "SyntaxError")
    assert "UTF-16" in failed.body["message"]

"""How the file of a model is run, and how its function is found."""

import json
from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import FAILED, INSIDE, PROJECTS, READY

ECHO = "def predict(args):\n    return args\n"


@pytest.mark.parametrize(
    "name",
    ["code/6_model_serve.py", "my.model.file.py", "with blank.py", "größe.py", "noextension"],
)
def test_any_file_name_will_do(converse: Converse, write_model: Any, name: str) -> None:
    """A model is run by its path, so its name need not be one that can be imported."""
    replica = converse()
    assert replica.start(write_model(ECHO, name), name, "predict").kind == READY
    assert replica.predict(5).body == 5


def test_where_a_model_finds_itself(converse: Converse) -> None:
    """The root is current directory and first on the path, once; nothing of ours is in sight."""
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


def test_a_safe_path_is_as_good_as_another(converse: Converse) -> None:
    """PYTHONSAFEPATH, which keeps Python from adding a script's folder, changes nothing."""
    root = PROJECTS / "environment"
    replica = converse(PYTHONSAFEPATH="1")
    assert replica.start(root, "environment.py", "report").kind == READY
    assert replica.predict({}).body["sys_path"][0] == str(root)


def test_modules_of_the_project_can_be_imported(converse: Converse, write_model: Any) -> None:
    """`from src.utils import x` works from the root, whatever folder the file is in."""
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


def test_what_is_for_scripts_is_left_alone(converse: Converse, write_model: Any) -> None:
    """A block beneath `if __name__ == "__main__"` does not run; __file__ is the file."""
    root = write_model(
        "if __name__ == '__main__':\n    raise SystemExit('run as a script')\n"
        "def predict(args):\n    return [__name__, __file__]\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    name, file = replica.predict(None).body
    assert name != "__main__"
    assert file == str(root / "model.py")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_find_the_models_functions(
    converse: Converse, write_model: Any, method: str
) -> None:
    """A function of the file can be handed to multiprocessing, and its own classes come back."""
    root = write_model(
        "import multiprocessing\n"
        "class Doubled:\n    def __init__(self, value):\n        self.value = 2 * value\n"
        "def predict(args):\n"
        "    with multiprocessing.get_context(args).Pool(1) as pool:\n"
        "        [doubled] = pool.map(Doubled, [21])\n"
        "    return [doubled.value, isinstance(doubled, Doubled)]\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(method).body == [42, True]


def test_what_the_file_defines_is_mains(converse: Converse, write_model: Any) -> None:
    """Libraries that pass on by value what `__main__` defines (joblib does) see that it does."""
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


def test_the_future_is_not_inherited(converse: Converse, write_model: Any) -> None:
    """Annotations of the model are evaluated as it wants, not as our own files do."""
    root = write_model(
        "def predict(args: int):\n    return isinstance(predict.__annotations__['args'], type)\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body is True


def test_source_can_be_had(converse: Converse, write_model: Any) -> None:
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
def test_a_missing_function_is_named_with_those_there_are(
    converse: Converse, write_model: Any, function: str, kind: str, message: str
) -> None:
    """The author learns which functions could have been meant."""
    failed = converse().start(write_model(FUNCTIONS), "model.py", function)
    assert (failed.kind, failed.body["type"]) == (FAILED, kind)
    assert failed.body["message"].startswith(message)
    assert failed.body["message"].endswith("defines: predict, train, instance")


def test_whatever_can_be_called_is_a_function(converse: Converse, write_model: Any) -> None:
    """An instance with __call__ serves as well as a def."""
    replica = converse()
    assert replica.start(write_model(FUNCTIONS), "model.py", "instance").kind == READY
    assert replica.predict(None).body == "called"


def test_a_missing_file_is_named(converse: Converse, write_model: Any) -> None:
    """A file that is not there fails by name."""
    failed = converse().start(write_model(ECHO), "absent.py", "predict")
    assert (failed.kind, failed.body["type"]) == (FAILED, "FileNotFoundError")
    assert "absent.py" in json.dumps(failed.body["message"])

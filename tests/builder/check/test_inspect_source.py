"""What is told of a model's file: only what is certain."""

import pytest

from builder.check.inspect_source import inspect

SERVED = {
    "plain": "def predict(args): return 1",
    "default": "def predict(args, more=1, *, key=None, **others): return 1",
    "star": "def predict(*args): return 1",
    "positional only": "def predict(args, /): return 1",
    "async": "async def predict(args): return 1",
    "inner yield": "def predict(args):\n def inner(): yield 1\n return list(inner())",
    "class": "class predict:\n def __init__(self, a, b): pass",
    "instance": "predict = Model()",
    "partial": "import functools\npredict = functools.partial(other, 1)",
    "lambda": "predict = lambda args: 1",
    "import": "from model import predict",
    "import as": "import model as predict",
    "star import": "from model import *",
    "decorated": "@other\ndef predict(a, b): yield",
    "conditional": "try:\n import x\nexcept ImportError:\n def predict(args): return 1",
    "one of two": "if x:\n def predict(a, b): return 1\nelse:\n def predict(args): return 1",
    "later assigned": "def predict(a, b): return 1\npredict = wrap(predict)",
    "tuple": "predict, other = make()",
    "annotated": "predict: object = make()",
    "loop": "for predict in functions: pass",
    "with": "with make() as predict: pass",
    "walrus": "print(predict := make())",
    "walrus in a comprehension": "[predict := each for each in functions]",
    "match": "match x:\n case [predict]: pass",
    "globals": "globals()['pre' + 'dict'] = other",
    "exec": "exec(open('x').read())",
    "module": "import sys\nsys.modules[__name__].predict = other",
    "setattr": "import __main__\nsetattr(__main__, 'predict', other)",
    "main": "import __main__\n__main__.predict = other",
    "global": "def make():\n global predict\n def predict(args): return 1\nmake()",
}


@pytest.mark.parametrize("source", SERVED.values(), ids=SERVED)
def test_file_that_may_serve_passes(source: str) -> None:
    """A function that exists, or may exist by any way of Python, passes."""
    facts = inspect(source.encode(), "model.py", "predict")
    assert (facts["syntax"], facts["missing"], facts["unfit"]) == ("", False, "")


UNFIT = {
    "def predict(a, b): return 1": "predict(a, b) is called with one argument",
    "def predict(): return 1": "predict() is called with one argument",
    "def predict(args, *, key): return 1": "predict(args, *, key) is called with one argument",
    "predict = lambda: 1": "predict() is called with one argument",
    "def predict(args):\n yield 1": "'predict' is a generator function",
    "async def predict(args):\n yield 1": "'predict' is a generator function",
    "predict = 3": "'predict' is no function but a constant",
    "predict = [1]": "'predict' is no function but a list",
    "if x:\n def predict(a, b): return 1\nelse:\n def predict(): return 1": "with one argument",
}


@pytest.mark.parametrize(("source", "told"), UNFIT.items(), ids=UNFIT)
def test_function_that_can_never_answer_is_told(source: str, told: str) -> None:
    """A function that fails on each request is told with its signature."""
    assert told in inspect(source.encode(), "model.py", "predict")["unfit"]


@pytest.mark.parametrize(
    "source",
    [
        "def predct(args): return 1",
        "def other():\n predict = 1\n def predict(args): return 1",
        "class Model:\n def predict(self, args): return 1",
        "",
    ],
)
def test_missing_function_is_told(source: str) -> None:
    """A name that only functions and classes have is missing from the module."""
    assert inspect(source.encode(), "model.py", "predict")["missing"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (b"def predict(args:\n", "line 1: "),
        (b"x = 1\nreturn 3\n", "line 2: 'return' outside function"),
        (b"x = '\x00'\n", "null bytes"),
        (b"# coding: nosuch\n", "unknown encoding"),
        (b"x = '\xff'\n", "line 1"),
        (b"(" * 5000, "too many nested parentheses"),
        (b"print 'Python 2'\n", "Missing parentheses"),
    ],
)
def test_syntax_error_is_told_with_its_line(source: bytes, told: str) -> None:
    """What Python cannot compile is told in its words, with the line if there is one."""
    assert told in inspect(source, "model.py", "predict")["syntax"]

"""Loads the model: a file run by its path, and one function of it.

The file is run, not imported, so it may have any name. It is `__main__`, as when Python gets its
path, and its definitions belong there from its first line on. So objects pickled by a script find
their classes, multiprocessing runs the file for its children, and joblib and others send by value
what `__main__` defines. Only the word `__name__` has another value in it, as in those children, so
code beneath `if __name__ == "__main__":` does not run.
"""

from __future__ import annotations

import _ast  # `ast` would cost a start some milliseconds
import os
import sys
import types

from .calling import refuse_unfit
from .source import read_source
from .tracking import book

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "__mp_main__"  # the file's name in children of multiprocessing


def load(root: str, file: str, function: str) -> Callable[[object], object]:
    """Runs `file` (relative to `root`) from `root` and returns its `function`.

    Raises what the file raises; AttributeError or TypeError when it has no such function, or
    one that can never answer.
    """
    os.chdir(root)
    # "" is the current folder at the time of an import, as in a session.
    sys.path[:0] = [root, ""]
    sys.argv = [file]
    found = _find(_run(os.path.join(root, file)), file, function)
    refuse_unfit(book.undecorated(found), function)
    return found


def _run(path: str) -> types.ModuleType:
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules[NAME] = sys.modules["__main__"] = module
    exec(_compile(read_source(path), path), module.__dict__)
    return module


def _compile(source: bytes, path: str) -> types.CodeType:
    # Bytes, so that the file's own encoding cookie applies; dont_inherit: gotcha G4 in README.
    if b"__name__" not in source:
        return compile(source, path, "exec", dont_inherit=True)
    tree = compile(source, path, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, _ast.Module)
    _say_another_name(tree)
    return compile(tree, path, "exec", dont_inherit=True)


def _say_another_name(tree: _ast.AST) -> None:
    """Replaces each `__name__` that is read by NAME."""
    waiting: list[_ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                value[:] = [_renamed(item) for item in value]
                waiting.extend(item for item in value if isinstance(item, _ast.AST))
            elif isinstance(value, _ast.AST):
                setattr(node, field, _renamed(value))
                waiting.append(value)


def _renamed(node: object) -> object:
    if not isinstance(node, _ast.Name) or node.id != "__name__":
        return node
    if not isinstance(node.ctx, _ast.Load):
        return node
    place = {name: getattr(node, name) for name in node._attributes}
    return _ast.Constant(value=NAME, kind=None, **place)


def _find(module: types.ModuleType, file: str, name: str) -> Callable[[object], object]:
    if name not in vars(module):
        raise AttributeError(f"{file} defines no {name!r}; {_functions(module)}")
    function: Callable[[object], object] = vars(module)[name]
    if not callable(function):
        kind = type(function).__name__
        raise TypeError(
            f"{name!r} in {file} is no function but of type {kind!r}; {_functions(module)}"
        )
    return function


def _functions(module: types.ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not isinstance(value, type)
        and getattr(value, "__module__", None) == "__main__"
    ]
    return f"the functions it defines: {', '.join(names) or 'none'}"

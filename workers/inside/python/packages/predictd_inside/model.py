"""Loads the model: a file run by its path, and one function of it.

The file is run, not imported, so any file name will do and the project root is all that is added to
`sys.path`. It is run as multiprocessing runs the main file of a program once more in its children:
under a name that leaves alone what stands beneath `if __name__ == "__main__":`, yet known as
`__main__`, and what it defines belongs there. So objects pickled by a script find their classes,
and worker processes of multiprocessing and joblib find the model's functions (gotcha G3 in README).
"""

from __future__ import annotations

import io
import os
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "__mp_main__"  # by which children of multiprocessing know the file as well


def load(root: str, file: str, function: str) -> Callable[[object], object]:
    """Run `file` (relative to `root`) from `root` and return its `function`.

    Raises whatever the file raises; AttributeError or TypeError when it has no such function.
    """
    os.chdir(root)
    sys.path.insert(0, root)
    sys.argv = [file]
    return _find(_run(os.path.join(root, file)), file, function)


def _run(path: str) -> types.ModuleType:
    module = types.ModuleType(NAME)
    module.__file__ = path
    sys.modules[NAME] = sys.modules["__main__"] = module
    with io.open_code(path) as stream:
        source = stream.read()
    # Bytes, so that the file's own encoding cookie counts; dont_inherit: gotcha G4 in README.
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    for value in vars(module).values():
        if isinstance(value, (type, types.FunctionType)) and value.__module__ == NAME:
            value.__module__ = "__main__"
    return module


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

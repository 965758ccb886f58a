"""Runs a script as a session of the workbench would: from the project's root, interactively.

- `sys`, `display` and `get_ipython` are there without an import, `%pip`, `!command` and their like
  work (interactive.py), and the value of a bare expression is shown as Python's own prompt does.
- The script is `__main__`, is found by its path, and finds modules beside the root and itself.
- It ends as any program of Python does: status 0, what it gave to sys.exit, or 1 with a traceback
  that begins at its own first line.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import types

from . import failures, interactive, output
from .names import know_localhost
from .precedence import show_children
from .shell import Shell
from .source import read_source


def main(file: str, arguments: list[str]) -> None:
    """Run the script, found beneath the current folder; raises SystemExit where it fails."""
    faulthandler.enable()  # a crash in C then tells in the log where it came from
    output.by_lines()
    know_localhost()
    show_children()
    if file.endswith(".ipynb"):
        raise SystemExit(
            f"{file} is a notebook; `jupyter nbconvert --to script` makes a script of it"
        )
    root, path = os.getcwd(), os.path.abspath(file)
    beside = os.path.dirname(path)
    # The current folder as well, whichever it is by then, as in a session.
    sys.path[:0] = [root, ""] if beside == root else [root, beside, ""]
    sys.argv = [file, *arguments]
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    shell = Shell(vars(module))
    given = {"sys": sys, "get_ipython": lambda: shell, "display": shell.display}
    vars(module).update({**given, interactive.SHELL: shell})
    try:
        exec(interactive.compile_script(read_source(path), path), vars(module))
    except SystemExit:
        raise
    except BaseException as problem:
        problem.__traceback__ = failures.theirs(problem.__traceback__)
        # The script may have a hook of its own.
        sys.excepthook(type(problem), problem, problem.__traceback__)
        raise SystemExit(1) from None

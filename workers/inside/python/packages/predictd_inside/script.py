"""Runs a script as a session of the workbench would: from the project's root, interactively.

- `sys`, `display` and `get_ipython` need no import. `%pip`, `!command` and similar lines work
  (interactive.py). The value of a bare expression is shown as at Python's own prompt.
- The script is `__main__`, is found by its path, and finds modules in the root and beside itself.
- It ends as any Python program: with status 0, the status of sys.exit, or 1 with a traceback that
  begins at its own first line.
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
    """Runs the script, beneath the current folder; raises SystemExit where it fails."""
    faulthandler.enable()  # a crash in C then writes its stack to the log
    output.by_lines()
    know_localhost()
    show_children()
    if file.endswith(".ipynb"):
        raise SystemExit(
            f"{file} is a notebook; `jupyter nbconvert --to script` makes a script of it"
        )
    root, path = os.getcwd(), os.path.abspath(file)
    beside = os.path.dirname(path)
    # "" is the current folder at the time of an import, as in a session.
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

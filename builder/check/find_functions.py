"""Finds the functions that files define, without running them.

An interpreter runs this text by `-c`, confined like the project's code. Arguments: the folder with
the sources `0.py`, `1.R` ..., and the file for the answer. Standard library only, CPython 3.8.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MOST_FUNCTIONS, LONGEST = 100, 300
# What is assigned at the left margin: a function, or one that a decorator of the SDK gets.
R_FUNCTION = re.compile(
    r"^([A-Za-z.][\w.]*)[ \t]*(?:<-|=)[ \t]*"
    r"(?:(?:\w+::)?(?:cml_model|model_metrics)\((?:[^()]*\)\()?[ \t\n]*)?"
    r"function[ \t]*\(([^)]*)\)",
    re.MULTILINE,
)


def functions_in(name: str, source: bytes) -> dict[str, Any]:
    """Return the `functions` of a source, and the `problem` for which it cannot be read, or ""."""
    try:
        if not name.endswith(".py"):
            found = r_functions(source.decode("utf-8", "replace"))
        else:
            found = python_functions(ast.parse(source).body)
        functions = [each for each, _ in zip(found, range(MOST_FUNCTIONS))]  # noqa: B905
    except SyntaxError as error:
        return {"problem": f"line {error.lineno}: {error.msg}"[:LONGEST], "functions": []}
    except (ValueError, RecursionError, MemoryError) as error:
        return {"problem": str(error)[:LONGEST] or repr(error), "functions": []}
    return {"problem": "", "functions": functions}


def python_functions(body: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield the functions of a module, also those that a condition or `try` defines."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield described(
                node.name, parameters_of(node.args), ast.get_docstring(node), node.lineno
            )
        elif isinstance(node, (ast.If, ast.Try)):
            yield from python_functions(node.body)
            yield from python_functions(node.orelse)


def parameters_of(args: ast.arguments) -> str:
    """Return the parameters as text, without annotations; `=...` stands for a default."""
    positional = [each.arg for each in args.posonlyargs + args.args]
    first = len(positional) - len(args.defaults)
    shown = [name if at < first else name + "=..." for at, name in enumerate(positional)]
    if args.vararg or args.kwonlyargs:
        shown.append("*" + (args.vararg.arg if args.vararg else ""))
    for each, default in zip(args.kwonlyargs, args.kw_defaults):  # noqa: B905
        shown.append(each.arg if default is None else each.arg + "=...")
    if args.kwarg:
        shown.append("**" + args.kwarg.arg)
    return ", ".join(shown)


def r_functions(text: str) -> Iterator[dict[str, Any]]:
    """Yield the functions that are assigned at the left margin, each with the comment above it."""
    for found in R_FUNCTION.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        above = text[: found.start()].rstrip("\n").rpartition("\n")[2]
        comment = above.lstrip("#' ") if above.startswith("#") else ""
        yield described(found[1], " ".join(found[2].split()), comment, line)


def described(name: str, parameters: str, doc: str | None, line: int) -> dict[str, Any]:
    summary = (doc or "").strip().partition("\n")[0]
    signature = f"{name}({parameters})"
    return {
        "name": name[:LONGEST],
        "signature": signature[:LONGEST],
        "summary": summary[:LONGEST],
        "line": line,
    }


def main() -> None:
    folder, answer = sys.argv[1:]
    found = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = functions_in(name, file.read())
    with open(answer, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()

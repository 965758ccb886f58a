"""Tells what can be told of a model's file without running it: its syntax, and its function.

The interpreter of the build runs this text by `-c`, confined like the project's code: another
version has another syntax, and a hostile file may end the parser or keep it busy. Arguments: the
source, its name in messages, the function, the file for the answer. Standard library only, CPython
3.8.

A function is refused only where every way in which the module binds its name is a definition that
can never answer. What cannot be told (a decorator, a star import, `globals()`) passes.
"""

from __future__ import annotations

import ast
import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DEFINITIONS = ("FunctionDef", "AsyncFunctionDef")
SCOPES = (*DEFINITIONS, "ClassDef", "Lambda")
# Names by which code can bind a name that is not written in it.
INDIRECT = {"globals", "vars", "locals", "exec", "eval", "setattr", "compile", "__import__"}
INDIRECT_ATTRIBUTES = {"__dict__", "modules", "__setattr__"}
LITERALS = ("Constant", "List", "Tuple", "Dict", "Set", "JoinedStr")
MOST_NAMES, LONGEST = 50, 300


def inspect(source: bytes, filename: str, function: str) -> dict[str, Any]:
    """Return `syntax` (the error, or ""), `missing`, `unfit` (why, or "") and `functions`."""
    facts: dict[str, Any] = {"syntax": "", "missing": False, "unfit": "", "functions": []}
    try:
        tree = ast.parse(source, filename)
        compile(tree, filename, "exec", dont_inherit=True)
    except SyntaxError as error:
        facts["syntax"] = syntax_problem(error)
        return facts
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        facts["syntax"] = "Python cannot read it: {}".format(str(error)[:LONGEST] or repr(error))
        return facts
    bindings, functions = bindings_of(tree, function)
    facts["functions"] = functions[:MOST_NAMES]
    if not binds_indirectly(tree, function):
        problems = [problem_of(node, function) for node in bindings]
        facts["missing"] = not bindings
        facts["unfit"] = problems[0] if problems and all(problems) else ""
    return facts


def syntax_problem(error: SyntaxError) -> str:
    """Return line and text of a syntax error, as Python shows them."""
    place = "line {}: ".format(error.lineno) if error.lineno else ""
    text = " in `{}`".format(error.text.strip()[:LONGEST]) if error.text else ""
    return "{}{}{}".format(place, str(error.msg)[:LONGEST], text)


def bindings_of(tree: ast.AST, name: str) -> tuple[list[Any], list[str]]:
    """Return what binds `name` in the module, not in its functions and classes, and the names of
    the functions that it defines."""
    bindings: list[Any] = []
    functions: list[str] = []
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop(0)
        kind = type(node).__name__
        if kind in DEFINITIONS and node.name not in functions:
            functions.append(node.name[:LONGEST])
        if name in names_bound_by(node, kind):
            bindings.append(node)
        if kind == "Assign" and len(node.targets) == 1 and is_name(node.targets[0], name):
            bindings.append(node)
            waiting.append(node.value)
        elif kind in SCOPES:
            waiting.extend(getattr(node, "decorator_list", []))
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return bindings, functions


def is_name(node: Any, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def names_bound_by(node: Any, kind: str) -> Sequence[str | None]:
    """Return the names that one node binds, without its children."""
    if kind == "Name":
        return () if isinstance(node.ctx, ast.Load) else (node.id,)
    if kind == "alias":
        return (node.asname or node.name.partition(".")[0],)
    if kind in (*DEFINITIONS, "ClassDef", "ExceptHandler", "MatchAs", "MatchStar"):
        return (node.name,)
    if kind == "MatchMapping":
        return (node.rest,)
    return ()


def binds_indirectly(tree: ast.AST, name: str) -> bool:
    """Return whether code may bind `name` in a way that its text does not show."""
    nodes: Any = ast.walk(tree)
    for node in nodes:
        kind = type(node).__name__
        if (
            (kind == "Name" and node.id in INDIRECT)
            or (kind == "Attribute" and node.attr in INDIRECT_ATTRIBUTES)
            or (kind == "Global" and name in node.names)
            or (kind == "alias" and node.name in ("*", "__main__", *INDIRECT_ATTRIBUTES))
        ):
            return True
    return False


def problem_of(node: Any, name: str) -> str:
    """Return why a binding can never answer a request, or "" where that cannot be told."""
    kind = type(node).__name__
    if kind == "Assign":
        value = type(node.value).__name__
        if value in LITERALS:
            return "{!r} is no function but a {}".format(name, value.lower())
        return signature_problem(node.value.args, name) if value == "Lambda" else ""
    if kind not in DEFINITIONS or node.decorator_list:
        return ""
    if has_yield(node):
        return (
            "{!r} is a generator function (it has a `yield`), and answers are not streamed: "
            "return one value, such as a list".format(name)
        )
    return signature_problem(node.args, name)


def signature_problem(args: ast.arguments, name: str) -> str:
    positional = args.posonlyargs + args.args
    needed = len(positional) - len(args.defaults)
    takes_one = needed <= 1 and (positional or args.vararg)
    if takes_one and all(default is not None for default in args.kw_defaults):
        return ""
    shown = [each.arg for each in positional]
    shown += ["*" + args.vararg.arg] if args.vararg else ["*"] if args.kwonlyargs else []
    shown += [each.arg for each in args.kwonlyargs]
    shown += ["**" + args.kwarg.arg] if args.kwarg else []
    return (
        "{0}({1}) is called with one argument, the request, which it does not take: define it as "
        "{0}(args)".format(name, ", ".join(shown)[:LONGEST])
    )


def has_yield(function: Any) -> bool:
    """Return whether the function itself yields, not one that is defined in it."""
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        kind = type(node).__name__
        if kind in ("Yield", "YieldFrom"):
            return True
        if kind not in SCOPES:
            waiting.extend(ast.iter_child_nodes(node))
    return False


def main() -> None:
    source, filename, function, answer = sys.argv[1:]
    with open(source, "rb") as file:
        facts = inspect(file.read(), filename, function)
    with open(answer, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(facts, file)


if __name__ == "__main__":
    main()

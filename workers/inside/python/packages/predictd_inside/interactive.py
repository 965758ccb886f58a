"""Scripts written for an interactive Python, as Python's own syntax tree.

A script that Python can parse stays as it is. Otherwise each interactive line becomes a line of
Python in the same place, so that line numbers stay right:

    !command        %name arguments        name = !command

Only a line that begins a statement is an interactive line: text in brackets or in a long string
stays as it is. In both cases the values of bare expressions at top level are shown. Children of
multiprocessing do none of this (gotcha G8 in README).
"""

from __future__ import annotations
import __future__

import ast
import io
import re
import tokenize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

SHELL = "__shell__"  # the name of the script's `Shell` in its own globals

_COMMAND = re.compile(r"(?P<indent>\s*)(?:(?P<target>[^\s!%#'\"][^!%#'\"]*?)\s*=\s*)?!(?P<text>.*)")
_MAGIC = re.compile(r"(?P<indent>\s*)%(?P<name>\w+)\s*(?P<text>.*)")
_TOKEN = re.compile(r"""'{3}|"{3}|['"\[\](){}#]|\\.?""")


def compile_script(source: bytes, path: str) -> CodeType:
    """The code of a script. Raises SyntaxError, with the script's line number."""
    try:
        tree = _parse(source, path)
    except SyntaxError as problem:
        source = translate(_decode(source, problem)).encode()
        # If nothing was translated, parsing raises the same error again.
        tree = None
    if tree is None:
        tree = _parse(source.decode(), path)
    lines = source.splitlines()
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and not _is_silent(statement, lines):
            statement.value = _shown(statement.value)
    code: CodeType = compile(tree, path, "exec", _take_future(tree), dont_inherit=True)
    return code


def translate(text: str) -> str:
    """A script with its interactive lines as Python."""
    lines = text.split("\n")
    for begin, end in _statements(lines):
        # A command continues after a line that ends with a backslash.
        line = "".join([part[:-1] for part in lines[begin : end - 1]] + [lines[end - 1]])
        said = _said(line)
        if said is not None:
            lines[begin:end] = [said] + [""] * (end - begin - 1)
    return "\n".join(lines)


def _said(line: str) -> str | None:
    """An interactive line as Python; None where it is Python already."""
    command, magic = _COMMAND.fullmatch(line), _MAGIC.fullmatch(line)
    if command is not None:
        target = command["target"]
        call = "system" if target is None else "getoutput"
        assign = "" if target is None else f"{target} = "
        text = command["text"].strip()
        return f"{command['indent']}{assign}{SHELL}.{call}({text!r}, locals())"
    if magic is not None:
        name, text = magic["name"], magic["text"].strip()
        return f"{magic['indent']}{SHELL}.run_line_magic({name!r}, {text!r}, locals())"
    return None


def _statements(lines: list[str]) -> Iterator[tuple[int, int]]:
    """The interactive lines: where each begins, and where its continuation ends."""
    depth, quote = 0, ""
    begin = 0
    while begin < len(lines):
        end = begin + 1
        if depth or quote:
            depth, quote = _state_after(lines[begin], depth, quote)
        elif _is_other(lines[begin]):
            while lines[end - 1].endswith("\\") and end < len(lines):
                end += 1
            yield begin, end
        else:
            depth, quote = _state_after(lines[begin], depth, quote)
            while not quote and lines[end - 1].endswith("\\") and end < len(lines):
                depth, quote = _state_after(lines[end], depth, quote)
                end += 1
        begin = end


def _is_other(line: str) -> bool:
    return _COMMAND.fullmatch(line) is not None or _MAGIC.fullmatch(line) is not None


def _state_after(line: str, depth: int, quote: str) -> tuple[int, str]:
    """The number of open brackets after a line, and the quote that ends the open string."""
    for match in _TOKEN.finditer(line):
        token = match[0]
        if quote:
            quote = "" if token == quote else quote
        elif token == "#":
            break
        elif token[0] in "'\"":
            quote = token
        elif token in "([{":
            depth += 1
        elif token in ")]}":
            depth = max(0, depth - 1)
    # A short string of any kind ends with its line.
    return depth, quote if len(quote) == 3 else ""


def _parse(source: bytes | str, path: str) -> ast.Module:
    tree = compile(source, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _decode(source: bytes, problem: SyntaxError) -> str:
    """The text, in the encoding that it declares. Raises `problem` where that does not fit."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        return io.TextIOWrapper(io.BytesIO(source), encoding).read()
    except (SyntaxError, UnicodeDecodeError):
        raise problem from None


def _take_future(tree: ast.Module) -> int:
    """Removes the imports from `__future__`, and returns the equivalent flags.

    At a prompt they may come at any time; in a file Python requires them first.
    """
    flags, rest = 0, []
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            known = [getattr(__future__, alias.name, None) for alias in statement.names]
            if None not in known:
                flags |= sum(feature.compiler_flag for feature in known if feature)
                continue
        rest.append(statement)
    tree.body = rest
    return flags


def _is_silent(statement: ast.Expr, lines: list[bytes]) -> bool:
    """Whether it is a bare string, such as a docstring, or ends with a semicolon."""
    if isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
        return True
    assert statement.end_lineno is not None
    rest = lines[statement.end_lineno - 1][statement.end_col_offset :]
    return rest.lstrip().startswith(b";")


def _shown(value: ast.expr) -> ast.expr:
    """A call of `show` with the expression."""
    show = ast.Attribute(ast.Name(SHELL, ast.Load()), "show", ast.Load())
    return ast.fix_missing_locations(ast.copy_location(ast.Call(show, [value], []), value))

"""The verb init: writes predictd.toml and .gitignore by looking at the current folder.

The files are parsed, never run: on the user's machine, and only Python and R files of the folder
and its first level of folders. Nothing that exists is overwritten.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit

_IGNORED = ".*\n!.gitignore\n__pycache__/\n*.pyc\nnode_modules/\n"
_DECORATORS = {"model_metrics", "cml_model"}
_LIKELY = ("predict", "infer", "score", "serve", "classify", "forecast")
_R_FUNCTION = re.compile(
    r"^([A-Za-z.][\w.]*)[ \t]*(?:<-|=)[ \t]*"
    r"((?:\w+::)?(?:cml_model|model_metrics)\((?:[^()]*\)\()?[ \t\n]*)?"
    r"function[ \t]*\(([^()]*)\)",
    re.MULTILINE,
)
# By whether all functions are of R.
_WHERE = {
    False: "list them in requirements.txt",
    True: "install them in cdsw-build.sh by `Rscript install.R`",
}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_MOST_FILES, _MOST_BYTES = 200, 1 << 20
# In the order in which a build looks for them where there is no script.
_REQUIREMENTS = ("cdsw-build.sh", "pylock.toml", "uv.lock", "requirements.txt", "pyproject.toml")
_R_REQUIREMENTS = ("cdsw-build.sh", "renv.lock")
_PATTERNS = ("*.py", "[!._]*/*.py", "*.[Rr]", "[!._]*/*.[Rr]")


class Candidate(NamedTuple):
    """A function of one argument; `is_likely` by its name or its decorator."""

    file: str
    function: str
    is_likely: bool


@command(
    "init",
    "write predictd.toml for the functions of this folder",
    argument("--yes", action="store_true", help="do not ask"),
    examples=["predictd init", "predictd init --yes"],
    group=Group.SERVE,
    local=True,
)
def init(context: Context) -> None:
    """Writes predictd.toml, and .gitignore where there is none."""
    from gateway.cli.project_file import NAME

    folder = Path.cwd()
    if (folder / NAME).exists():
        raise CommandFailed(f"{NAME} exists already", "edit it, or remove it", Exit.REFUSED)
    found = candidates(folder)
    chosen = [each for each in found if each.is_likely] or found
    if not chosen:
        problem, advice = _why_none(folder)
        message = f"no function of one argument is in the Python and R files of {folder}{problem}"
        raise CommandFailed(message, advice, Exit.FAILED)
    models = _named(chosen)
    listed = ", ".join(f"{name} ({each.file}:{each.function})" for name, each in models.items())
    context.confirm(f"Write {NAME} with {listed}?")
    files = [NAME]
    (folder / NAME).write_text(project_file(models), encoding="utf-8")
    if not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text(_IGNORED)
        files.append(".gitignore")
    of_r = all(is_r(each.file) for each in models.values())
    names = _R_REQUIREMENTS if of_r else _REQUIREMENTS
    requirements = next((each for each in names if (folder / each).is_file()), "")
    installs = (
        f"A build installs what {requirements} says."
        if requirements
        else f"No file says which packages the build needs: {_WHERE[of_r]}."
    )
    document = {"files": files, "models": {name: each._asdict() for name, each in models.items()}}
    text = f"Wrote {' and '.join(files)} with {listed}.\n{installs}\nDeploy with `predictd deploy`."
    context.terminal.result(document, text)


def candidates(folder: Path) -> list[Candidate]:
    """The top-level functions of the folder that can take a request."""
    found = []
    for path in _sources(folder):
        name = path.relative_to(folder).as_posix()
        functions = _r_functions(path) if is_r(name) else _functions(path)
        found += [Candidate(name, *each) for each in functions]
    return found


def _sources(folder: Path) -> list[Path]:
    """The files that are looked at."""
    files = sorted(path for pattern in _PATTERNS for path in folder.glob(pattern))[:_MOST_FILES]
    tests = ("test_", "setup.", "conftest.")
    return [
        path
        for path in files
        if not path.name.startswith(tests) and path.is_file() and path.stat().st_size <= _MOST_BYTES
    ]


def _why_none(folder: Path) -> tuple[str, str]:
    """What probably hides the function that was expected, or "", and what to do."""
    for path in _sources(folder):
        if is_r(path.name):
            continue
        try:
            body = _parsed(path).body
        except SyntaxError as error:
            where = f"{path.relative_to(folder)}, line {error.lineno}"
            return f": {where} is not valid Python: {error.msg}", "correct that line"
        except (ValueError, RecursionError, MemoryError) as error:
            return f": {path.relative_to(folder)} is not valid Python: {error}", "correct the file"
        likely = [each for each in body if isinstance(each, _FUNCTIONS) and _is_likely(each.name)]
        if likely:
            found = f"{path.relative_to(folder)}:{likely[0].name}"
            return f"; {found} takes other arguments", "let it take one, the request"
    if notebooks := sorted(path.name for path in folder.glob("*.ipynb")):
        problem = f"; {notebooks[0]!r} is a notebook, which no model can be served from"
        return problem, "convert it to a program: `jupyter nbconvert --to script`"
    return "", "write one that takes the request, such as `def predict(args): ...`"


def is_r(file: str) -> bool:
    """Whether a file is one of R, by its name."""
    return file.lower().endswith(".r")


def _r_functions(path: Path) -> Iterator[tuple[str, bool]]:
    """The functions that are assigned at the left margin."""
    for found in _R_FUNCTION.finditer(path.read_text("utf-8", "replace")):
        parameters = [each.strip() for each in found[3].split(",")]
        required = [each for each in parameters if each and "=" not in each and each != "..."]
        if len(required) == 1 and not found[1].startswith("."):
            yield found[1], bool(found[2]) or _is_likely(found[1])


def _functions(path: Path) -> Iterator[tuple[str, bool]]:
    try:
        tree = _parsed(path)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if isinstance(node, _FUNCTIONS) and not node.name.startswith("_"):
            names = {_name_of(each) for each in node.decorator_list}
            required = len(node.args.posonlyargs) + len(node.args.args) - len(node.args.defaults)
            optional = all(each is not None for each in node.args.kw_defaults)
            if required == 1 and optional:
                yield node.name, _is_likely(node.name) or bool(names & _DECORATORS)


def _parsed(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as an invalid escape sequence
        return ast.parse(path.read_bytes())


def _is_likely(function: str) -> bool:
    return any(word in function.lower() for word in _LIKELY)


def _name_of(node: ast.expr) -> str:
    """The last name of a decorator."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _named(chosen: list[Candidate]) -> dict[str, Candidate]:
    """Models by name: the function's, or with its file's where two functions share it."""
    models: dict[str, Candidate] = {}
    for each in chosen:
        name = each.function.replace("_", "-").replace(".", "-")
        if name in models:
            name = f"{Path(each.file).stem}-{name}".replace("_", "-")
        if name not in models:
            models[name] = each
    return models


def project_file(models: dict[str, Candidate]) -> str:
    """The text of predictd.toml."""
    parts = ["# Models that `predictd deploy` deploys. Flags of the command win."]
    for name, each in models.items():
        key = name if name.isascii() and name.replace("-", "").isalnum() else _text(name)
        parts.append(
            f"[models.{key}]\nfile = {_text(each.file)}\nfunction = {_text(each.function)}\n"
            '# example = { x = 1 }\n# replicas = 2\n# memory = "1GiB"'
        )
    return "\n\n".join(parts) + "\n"


def _text(value: str) -> str:
    """A basic string of TOML, which has JSON's escapes."""
    return json.dumps(value, ensure_ascii=False)

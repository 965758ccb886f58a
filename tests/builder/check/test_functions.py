"""The functions of a project's files, to pick from."""

import sys
from pathlib import Path
from typing import Any

from builder.check.functions import FoundFunction, FunctionCache, SourceFile, _Found, list_functions
from builder.interpreters import inspect
from tests.support.builder import run

R = "served <- cml::cml_model(metrics = TRUE)(function(args) {\n})\n"


async def listed(project: Path, cache: FunctionCache | None = None) -> dict[str, SourceFile]:
    above = project.parent / "above"
    found = await list_functions(
        project,
        interpreter=await inspect(Path(sys.executable)),
        run=run,
        above=above,
        cache=cache or FunctionCache(),
    )
    assert not list(above.iterdir())
    return {each.path: each for each in found}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def test_functions_are_listed_with_signature_and_summary(tmp_path: Path) -> None:
    """Each Python and R file has its functions, with their signatures and first lines; the files
    are not run."""
    project = tmp_path / "project"
    write(
        project / "a.py",
        'raise SystemExit\ndef add(args: dict, b=1, *, c):\n    """Adds.\n\n    More."""\n'
        "class C:\n    def method(self): pass\ntry:\n    async def late(*all, **named): pass\n"
        "except ImportError: pass\n",
    )
    write(project / "inner" / "model.R", "# Adds two numbers.\nadd <- function(args) {\n}\n" + R)
    write(project / "bad.py", "def (")
    found = await listed(project)
    assert [(f.name, f.signature, f.summary, f.line) for f in found["a.py"].functions] == [
        ("add", "add(args, b=..., *, c)", "Adds.", 2),
        ("late", "late(*all, **named)", "", 9),
    ]
    r, decorated = found["inner/model.R"].functions
    assert (r.signature, r.summary, r.line) == ("add(args)", "Adds two numbers.", 2)
    assert (decorated.signature, decorated.line) == ("served(args)", 4)
    assert found["bad.py"].problem.startswith("line 1: ")


async def test_what_is_no_source_is_passed_over(tmp_path: Path) -> None:
    """Environments, caches, hidden folders and links are not read."""
    project = tmp_path / "project"
    write(tmp_path / "elsewhere.py", "def secret(): pass\n")
    for name in ("env/lib/x.py", "__pycache__/x.py", ".hidden/x.py", "notes.txt", "good.py"):
        write(project / name, "def f(args): pass\n")
    write(project / "env" / "pyvenv.cfg", "")
    (project / "link.py").symlink_to(tmp_path / "elsewhere.py")
    assert list(await listed(project)) == ["good.py"]


async def test_unchanged_file_is_not_parsed_again(tmp_path: Path) -> None:
    """Only new and changed files are given to the interpreter; equal files of another project
    are."""
    cache, parsed = FunctionCache(), list[int]()

    async def counted(project: Path) -> dict[str, SourceFile]:
        async def counting(*args: Any, **named: Any) -> Any:
            (above,) = (project.parent / "above").iterdir()
            parsed.append(len(list(above.glob("shown/*.py"))))
            return await run(*args, **named)

        found = await list_functions(
            project,
            interpreter=await inspect(Path(sys.executable)),
            run=counting,
            above=project.parent / "above",
            cache=cache,
        )
        return {each.path: each for each in found}

    project = tmp_path / "one" / "project"
    for name in ("a.py", "b.py", "c.py"):
        write(project / name, f"def {name[0]}(args): pass\n")
    first = await counted(project)
    assert await counted(project) == first
    write(project / "b.py", "def changed(args): pass\n")
    assert [f.name for f in (await counted(project))["b.py"].functions] == ["changed"]
    write(tmp_path / "two" / "project" / "a.py", "def a(args): pass\n")
    assert [f.name for f in (await counted(tmp_path / "two" / "project"))["a.py"].functions] == [
        "a"
    ]
    assert parsed == [3, 1, 1]


def test_cache_of_functions_is_bounded() -> None:
    """The files that were not asked for longest are dropped first."""
    cache = FunctionCache(most=6)
    found = _Found("", [FoundFunction("f", "f()", "", 1)])
    for name in ("a", "b", "c"):
        cache.put(name, found)
    assert cache.get("a") == found
    cache.put("d", found)
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]

"""The functions of a project's files, to pick from."""

import sys
from pathlib import Path

from builder.check.functions import SourceFile, list_functions
from builder.interpreters import inspect
from tests.support.builder import run


async def listed(project: Path) -> dict[str, SourceFile]:
    above = project.parent / "above"
    found = await list_functions(
        project, interpreter=await inspect(Path(sys.executable)), run=run, above=above
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
    write(project / "inner" / "model.R", "# Adds two numbers.\nadd <- function(args) {\n}\n")
    write(project / "bad.py", "def (")
    found = await listed(project)
    assert [(f.name, f.signature, f.summary, f.line) for f in found["a.py"].functions] == [
        ("add", "add(args, b=..., *, c)", "Adds.", 2),
        ("late", "late(*all, **named)", "", 9),
    ]
    (r,) = found["inner/model.R"].functions
    assert (r.signature, r.summary, r.line) == ("add(args)", "Adds two numbers.", 2)
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

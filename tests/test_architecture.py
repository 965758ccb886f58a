"""The architecture: which package may import which, and which file may use what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "workers", "builder", "store")
INSIDE = ROOT / "workers" / "inside"
# The `pip` of builds.
PIP = ROOT / "builder" / "environment" / "pip" / "inside"
SOURCES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "project_templates" not in path.parts
)
OUTSIDE = [
    path for path in SOURCES if not path.is_relative_to(INSIDE) and not path.is_relative_to(PIP)
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def importers_of(*modules: str) -> set[str]:
    """The files outside the replicas' interpreter that import one of these modules."""
    return {
        name_of(path)
        for path in OUTSIDE
        for imported in imports(path)
        if any(imported == module or imported.startswith(f"{module}.") for module in modules)
    }


def test_layers_hold() -> None:
    """The gateway imports the three packages; they import neither it nor each other."""
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gateway_imports_no_part_of_a_part() -> None:
    """The gateway imports `workers`, `builder`, `store` and their direct modules, nothing deeper:
    what is in their folders is exported above."""
    deep = {
        f"{name_of(path)}: {imported}"
        for path in (ROOT / "gateway").rglob("*.py")
        if "project_templates" not in path.parts
        for imported in imports(path)
        if imported.split(".")[0] in {"workers", "builder", "store"} and imported.count(".") > 1
    }
    assert not deep


def test_what_runs_inside_a_model_stands_alone() -> None:
    """It imports the standard library and itself, and no package imports it."""
    allowed = sys.stdlib_module_names | {"predictd_inside"}
    for path in INSIDE.rglob("*.py"):
        strange = {i for i in imports(path) if i.split(".")[0] not in allowed}
        assert not strange, f"{name_of(path)} imports {strange}"
    assert not importers_of("workers.inside", "predictd_inside")


def test_pip_of_builds_stands_alone() -> None:
    """It imports the standard library and itself; what prepares it and resolves its requests again
    shares two of its modules."""
    for path in PIP.rglob("*.py"):
        strange = {i for i in imports(path) if i.split(".")[0] not in sys.stdlib_module_names}
        assert not strange, f"{name_of(path)} imports {strange}"
    assert importers_of("builder.environment.pip.inside") == {
        "builder/environment/pip/wrappers.py",
        "builder/environment/pip/fingerprint.py",
    }


@pytest.mark.parametrize(
    ("modules", "owners"),
    [
        # aiosqlite.Connection is also the type of what `control` composes transactions with.
        (("sqlite3", "aiosqlite"), ("store/", "gateway/control/")),
        (("quart", "quart_trio", "hypercorn"), ("gateway/",)),
        (("git",), ("builder/git/git_store.py",)),
        (
            # Processes of models and scripts are workers/process/process.py's alone; the others ask
            # git, interpreters and the kernel what they are, call rm, or start a gateway.
            ("subprocess", "multiprocessing"),
            (
                "workers/process/process.py",
                # The type of what that gives it.
                "workers/orphan_processes.py",
                # To see what works here.
                "workers/cgroups/tree.py",
                "workers/confinement/levels.py",
                "builder/git/git_store.py",
                "builder/interpreter_question.py",
                "builder/files/remove_tree.py",
                "gateway/cli/commands/demo.py",
                "gateway/operations/doctor.py",
            ),
        ),
    ],
)
def test_each_concern_has_its_owner(modules: tuple[str, ...], owners: tuple[str, ...]) -> None:
    """SQL, HTTP, git and processes each belong to one package."""
    strangers = {path for path in importers_of(*modules) if not path.startswith(owners)}
    assert not strangers


def test_only_the_composition_takes_the_foundation() -> None:
    """Classes of the control take the parts that they use, never the record of all."""
    assert importers_of("gateway.control.foundation") == {
        "gateway/composition.py",
        "gateway/control/assembly.py",
        "gateway/control/deployments/assembly.py",
        "gateway/control/sessions/assembly.py",
        "gateway/control/storage/assembly.py",
        "gateway/control/control.py",
    }


def test_control_knows_no_http() -> None:
    """What decides neither sees a request nor writes a reply."""
    web = importers_of("quart", "werkzeug", "hypercorn")
    assert not {path for path in web if path.startswith("gateway/control/")}


def test_the_environment_is_read_in_one_place() -> None:
    """Settings read it; the command line's entry hands it to them."""
    readers = {name_of(path) for path in OUTSIDE if "os.environ" in path.read_text()}
    assert readers == {"gateway/settings.py", "gateway/cli/main.py"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_opens_with_its_theory(path: Path) -> None:
    """Every source file says first what it is."""
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "path",
    sorted(
        path for path in (ROOT / "gateway/control").rglob("*.py") if path.parent.name != "backup"
    ),
    ids=name_of,
)
def test_control_stays_small(path: Path) -> None:
    """A noun's orchestration that needs more than 260 lines is two nouns."""
    assert len(path.read_text().splitlines()) <= 260

"""A project without a build script gets what its first requirement file states."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from builder.environment.implicit_script import find_implicit_script
from builder.environment.pip.wrappers import uv_program
from builder.spec import BuildSpec
from tests.support.builder import Bench
from tests.support.wheels import make_wheel

MODEL = "def predict(args):\n    return args\n"
OFFLINE = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
PROJECT = '[project]\nname = "demo"\nversion = "1"\ndependencies = ["greeting"]\n'
BUILT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


async def prepared(bench: Bench, model_root: str = "", **files: str) -> BuildSpec:
    """A spec whose code has these files; `__` in a name is a slash, `_` a dot."""
    spec = await bench.spec(model_root=model_root)
    spec.virtualenv.mkdir(parents=True)
    spec.pip_cache.mkdir(parents=True)
    for name, content in files.items():
        path = spec.code / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return spec


@pytest.mark.parametrize(
    ("files", "file", "shown"),
    [
        (
            {"pylock_toml": "", "uv_lock": "", "requirements_txt": "", "pyproject_toml": PROJECT},
            "pylock.toml",
            "pip install -r pylock.toml",
        ),
        (
            {"uv_lock": "", "requirements_txt": "", "pyproject_toml": PROJECT},
            "uv.lock",
            "pip install uv && uv sync --locked --inexact --active",
        ),
        (
            {"requirements_txt": "", "pyproject_toml": PROJECT},
            "requirements.txt",
            "pip install -r requirements.txt",
        ),
        ({"pyproject_toml": PROJECT}, "pyproject.toml", "pip install -r pyproject.toml"),
        ({"pyproject_toml": PROJECT + BUILT}, "pyproject.toml", "pip install -e ."),
        ({"pyproject_toml": "[project"}, "pyproject.toml", "pip install -r pyproject.toml"),
        ({"pyproject_toml": "a=" + "[" * 9999}, "pyproject.toml", "pip install -r pyproject.toml"),
    ],
)
async def test_first_file_is_installed(
    bench: Bench, files: dict[str, str], file: str, shown: str
) -> None:
    """pylock.toml comes before uv.lock, requirements.txt and pyproject.toml."""
    script = find_implicit_script(await prepared(bench, **files), "python")
    assert script is not None
    assert (script.file, script.shown) == (file, shown)
    assert script.told == (
        f"No cdsw-build.sh: installing {file} (write a cdsw-build.sh to do more; it could begin "
        f"with `{shown}`)"
    )


async def test_project_root_comes_before_model_root(bench: Bench) -> None:
    """A file at the model's root counts where the project's root has none."""
    spec = await prepared(bench, "a model", **{"a model__requirements_txt": ""})
    script = find_implicit_script(spec, "python")
    assert script is not None
    assert script.file == "a model/requirements.txt"
    assert script.line == "cd 'a model' && pip install -r requirements.txt"
    (spec.code / "requirements.txt").touch()
    script = find_implicit_script(spec, "python")
    assert script is not None
    assert script.file == "requirements.txt"


@pytest.mark.parametrize(
    "files", [{}, {"pyproject_toml": "[tool.ruff]\n"}, {"environment_yml": "name: a"}]
)
async def test_project_without_requirements_has_no_script(
    bench: Bench, files: dict[str, str]
) -> None:
    """Settings of tools are no requirements."""
    assert find_implicit_script(await prepared(bench, **files), "python") is None


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", "pylock.toml", "uv.lock"])
async def test_file_is_installed_without_a_script(bench: Bench, name: str) -> None:
    """The build of a project that has one of the files and no script has its packages."""
    wheels = bench.project / "wheels"
    wheel = make_wheel(wheels, "greeting", "1.0")
    bench.write("model.py", MODEL)
    if name == "requirements.txt":
        bench.write(name, "greeting\n")
    else:
        bench.write("pyproject.toml", PROJECT + 'requires-python = ">=3.9"\n')
    if name == "pylock.toml":
        bench.write(
            name,
            'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "greeting"\n'
            f'version = "1.0"\narchive = {{ path = "wheels/{wheel.name}", hashes = {{ sha256 = '
            f'"{sha256(wheel)}" }} }}\n',
        )
    if name == "uv.lock":
        bench.write(
            "pyproject.toml",
            PROJECT + 'requires-python = ">=3.9"\n'
            '[[tool.uv.index]]\nname = "own"\nurl = "wheels"\nformat = "flat"\ndefault = true\n',
        )
        uv("lock", bench.project)
    variables = OFFLINE | {"PIP_FIND_LINKS": "wheels"}
    report = await bench.build(variables=variables)
    assert report.failure is None, bench.log.lines
    assert f"No cdsw-build.sh: installing {name}" in bench.log
    assert list(bench.environments.folder("one").rglob("greeting.py"))


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def uv(verb: str, folder: Path) -> None:
    command = [str(uv_program()), verb, "--offline", "--cache-dir", str(folder.parent / "uv")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_failed_installation_names_the_file(bench: Bench) -> None:
    """The summary names the file, since there is no script."""
    bench.write("model.py", MODEL)
    bench.write("requirements.txt", "no-such-package\n")
    report = await bench.build(variables=OFFLINE)
    assert report.failure is not None
    assert report.failure.summary == "requirements.txt could not be installed"
    assert report.failure.problem.startswith("Because no-such-package was not found")


async def test_script_wins(bench: Bench) -> None:
    """Where there is a script nothing else is installed."""
    bench.write("model.py", MODEL)
    bench.write("requirements.txt", "no-such-package\n")
    bench.write("cdsw-build.sh", "echo mine")
    report = await bench.build(variables=OFFLINE)
    assert report.failure is None
    assert "mine" in bench.log
    assert "installing" not in bench.log

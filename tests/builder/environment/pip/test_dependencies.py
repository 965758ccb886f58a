"""Every public way in which projects state dependencies is installed, by uv where the table says.

Packages are wheels in a folder, or come from an index on loopback. Projects that are built have
their build system in their own tree, since no other is within reach.
"""

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from virtualenv.seed.wheels import embed as wheels

from builder.errors import ScriptFailed
from builder.spec import BuildSpec
from tests.support.builder import Bench
from tests.support.package_index import PackageIndex, serving, wheel
from tests.support.scripts import run_in_new_environment
from tests.support.wheels import make_wheel

OFFLINE = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "wheels"}
BUNDLED = str(Path(wheels.__file__).parent)
SEEDED = ("pip", "setuptools", "wheel")
MORE = 'Provides-Extra: more\nRequires-Dist: second; extra == "more"\n'
BACKEND = """
import base64, hashlib, os, zipfile

def get_requires_for_build_wheel(settings=None): return []
get_requires_for_build_editable = get_requires_for_build_wheel

def build_wheel(folder, settings=None, metadata=None):
    return _write(folder, {"package/__init__.py": open("src/package/__init__.py").read()})

def build_editable(folder, settings=None, metadata=None):
    return _write(folder, {"package.pth": os.path.abspath("src") + "\\n"})

def _write(folder, files):
    info = "package-3.0.dist-info"
    files[f"{info}/METADATA"] = (
        "Metadata-Version: 2.1\\nName: package\\nVersion: 3.0\\nProvides-Extra: more\\n"
        'Requires-Dist: second; extra == "more"\\n'
    )
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, "package-3.0-py3-none-any.whl"), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return "package-3.0-py3-none-any.whl"
"""
SOURCES = {
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
    'backend-path = ["."]\n[project]\nname = "package"\nversion = "3.0"\n'
    'optional-dependencies = { more = ["second"] }\n'
    '[dependency-groups]\nextra = ["greeting<2", "second"]\n',
    "backend.py": BACKEND,
    "src/package/__init__.py": "VERSION = '3.0'\n",
}


class Seen(NamedTuple):
    """Who served the requests of a script, and what it installed."""

    served: list[str]
    installed: dict[str, str]


async def run_quickly(bench: Bench, spec: BuildSpec) -> Seen:
    """Runs the script in a new environment, without the other steps of a build."""
    requests = await run_in_new_environment(bench, spec)
    found = spec.virtualenv.glob("lib/*/site-packages/*.dist-info")
    installed = (each.name.removesuffix(".dist-info").rpartition("-") for each in found)
    return Seen(
        served=[each.served for each in requests],
        installed={name: version for name, _, version in installed if name not in SEEDED},
    )


async def build(bench: Bench, script: str, name: str = "one", **variables: str) -> Seen:
    """What a build with this script installs. `greeting` 1.0 and 2.0, with an extra `more`, and
    `second` 1.0 are there."""
    wheels = bench.project / "wheels"
    make_wheel(wheels, "greeting", "1.0", more=MORE)
    make_wheel(wheels, "greeting", "2.0", more=MORE)
    make_wheel(wheels, "greeting", "3.0b1", more=MORE)
    make_wheel(wheels, "second", "1.0")
    bench.write("model.py", "def predict(args):\n    return args\n")
    bench.write("cdsw-build.sh", script)
    spec = await bench.spec(name, variables=OFFLINE | variables)
    return await run_quickly(bench, spec)


@pytest.mark.parametrize(
    ("requirements", "installed"),
    [
        ("greeting", {"greeting": "2.0"}),
        ("greeting==1.0", {"greeting": "1.0"}),
        ("greeting>=1,<2", {"greeting": "1.0"}),
        ("greeting~=1.0 # as before", {"greeting": "1.0"}),
        ("greeting>=3.0b1", {"greeting": "3.0b1"}),
        ("--pre\ngreeting", {"greeting": "3.0b1"}),
        ("greeting[more]", {"greeting": "2.0", "second": "1.0"}),
        ('greeting\nsecond; python_version < "3"', {"greeting": "2.0"}),
        ('greeting; sys_platform == "linux"', {"greeting": "2.0"}),
        ("-c more.txt\ngreeting", {"greeting": "1.0"}),
        ("-r more.txt\nsecond", {"greeting": "1.0", "second": "1.0"}),
        ("./wheels/greeting-1.0-py3-none-any.whl", {"greeting": "1.0"}),
        ("greeting[more] @ file:{folder}/greeting.whl", {"greeting": "1.0", "second": "1.0"}),
        ("git+file://{folder}/repository@v1", {"package": "3.0"}),
        ("package @ git+file://{folder}/repository@v1", {"package": "3.0"}),
        ("-e .", {"package": "3.0"}),
        (".[more]", {"package": "3.0", "second": "1.0"}),
        ("{folder}/package-3.0.tar.gz", {"package": "3.0"}),
        ("--no-index\n--find-links wheels\n--only-binary :all:\ngreeting", {"greeting": "2.0"}),
        ("--prefer-binary\n--find-links ${{FOLDER}}\ngreeting", {"greeting": "2.0"}),
        ("greeting==1.0 \\\n    --hash=sha256:{hash}", {"greeting": "1.0"}),
    ],
)
async def test_requirements_file(
    bench: Bench, tmp_path: Path, requirements: str, installed: dict[str, str]
) -> None:
    """uv installs what a requirements file states."""
    content = wheel("greeting", "1.0", more=MORE)
    facts = {"folder": str(tmp_path), "hash": hashlib.sha256(content).hexdigest()}
    for name, text in SOURCES.items():
        bench.write(name, text)
    bench.write("requirements.txt", requirements.format(**facts))
    bench.write("more.txt", "greeting==1.0\n")
    if "greeting.whl" in requirements:
        # pip and uv need the name of a wheel as a whole.
        (tmp_path / "greeting-1.0-py3-none-any.whl").write_bytes(content)
        text = (bench.project / "requirements.txt").read_text()
        bench.write(
            "requirements.txt", text.replace("greeting.whl", "greeting-1.0-py3-none-any.whl")
        )
    if "git+" in requirements:
        repository(tmp_path / "repository")
    if "tar.gz" in requirements:
        source_distribution(tmp_path / "package-3.0.tar.gz")
    seen = await build(bench, "pip install -r requirements.txt", FOLDER="wheels")
    assert seen.installed == installed
    assert seen.served == ["uv"]


def repository(folder: Path) -> None:
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)


def source_distribution(file: Path) -> None:
    metadata = "Metadata-Version: 2.1\nName: package\nVersion: 3.0\n"
    with tarfile.open(file, "w:gz") as archive:
        for name, text in {**SOURCES, "PKG-INFO": metadata}.items():
            entry = tarfile.TarInfo(f"package-3.0/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    ("script", "installed", "served"),
    [
        ("pip install -U greeting", {"greeting": "2.0"}, ["uv"]),
        ("pip3 install --user 'greeting<2' second", {"greeting": "1.0", "second": "1.0"}, ["uv"]),
        ("python -m pip install --user greeting", {"greeting": "2.0"}, ["uv"]),
        ("pip install --group extra", {"greeting": "1.0", "second": "1.0"}, ["uv"]),
        ("pip install wheels/greeting-1*.whl --no-deps", {"greeting": "1.0"}, ["uv"]),
        ("pip install greeting==1.0; pip install greeting", {"greeting": "1.0"}, ["uv", "uv"]),
        ("pip install greeting==1.0; pip install -U greeting", {"greeting": "2.0"}, ["uv", "uv"]),
        ("pip install greeting; pip uninstall -y greeting", {}, ["uv"]),
        ("pip install --ignore-installed greeting", {"greeting": "2.0"}, ["pip"]),
        ("PREDICTD_PIP=pip pip install greeting", {"greeting": "2.0"}, ["pip"]),
        (
            "pip download -qd out greeting; pip install out/*",
            {"greeting": "2.0"},
            ["pip", "uv"],
        ),
        ("pip install missing || pip install second", {"second": "1.0"}, ["uv", "uv"]),
        ("pip install --no-cache-dir greeting", {"greeting": "2.0"}, ["uv"]),
        ("iconv -t UTF-16 more.txt > w.txt; pip install -rw.txt", {"greeting": "1.0"}, ["pip"]),
        ("pip install -r <(echo greeting==1.0)", {"greeting": "1.0"}, ["pip"]),
        ("echo second | pip install -r /dev/stdin", {"second": "1.0"}, ["pip"]),
        ("PIP_CONSTRAINT=more.txt pip install greeting", {"greeting": "1.0"}, ["uv"]),
        ("PIP_CONFIG_FILE=pip.conf pip install greeting", {"greeting": "1.0"}, ["uv"]),
    ],
)
async def test_script(
    bench: Bench, script: str, installed: dict[str, str], served: list[str]
) -> None:
    """What scripts ask of pip is done, and recorded with who did it."""
    for name, text in SOURCES.items():
        bench.write(name, text)
    bench.write("more.txt", "greeting==1.0\n")
    bench.write("pip.conf", "[install]\nconstraint = more.txt\n")
    seen = await build(bench, f"set -e\n{script}")
    assert seen.installed == installed
    assert seen.served == served


async def test_pip_stays_ours_and_itself(bench: Bench) -> None:
    """An upgrade of pip leaves `python -m pip` to uv, and `import pip` to pip."""
    script = f"""
    set -e
    pip install --force-reinstall --no-deps -f {BUNDLED} pip
    python -m pip install greeting
    python3 -m pip install --ignore-installed second
    "$VIRTUAL_ENV/bin/pip" install greeting
    python -c 'import pip._internal.cli.main as m; print(m.__name__)'
    python -m pip freeze | grep greeting
    """
    seen = await build(bench, script)
    assert seen.served == ["uv", "uv", "pip", "uv"]
    assert "pip._internal.cli.main" in bench.log.lines
    assert "greeting==2.0" in bench.log.lines


@pytest.mark.parametrize(
    ("command", "printed", "status"),
    [
        ("pip --version", "pip ", 0),
        ("pip3 list", "Package ", 0),
        ("pip freeze --all", "pip==", 0),
        ("pip show pip", "Name: pip", 0),
        ("pip check", "No broken requirements found.", 0),
        ("pip install greeting | tail -1", "Successfully installed greeting-2.0", 0),
        (
            "pip install -q greeting; pip install greeting",
            "Requirement already satisfied: greet",
            0,
        ),
        ("pip install", "ERROR: You must give at least one requirement to install", 1),
        ("pip install missing", "error: No solution found", 1),
        ("pip install --no-such-option", "Usage:", 2),
        ("pip no-such-verb", "ERROR: unknown command", 1),
        ("pip show missing", "WARNING: Package(s) not found: missing", 1),
        ("pip install -q greeting && echo silent", "silent", 0),
    ],
)
async def test_pip_answers_as_pip(bench: Bench, command: str, printed: str, status: int) -> None:
    """What scripts read of pip, and its exit statuses, are pip's."""
    await build(bench, f"({command}); echo status $?")
    lines = [line for line in bench.log.lines if "predictd" not in line][1:]
    assert any(line.startswith(printed) for line in lines), lines
    assert f"status {status}" in lines


async def test_editable_follows_the_source(bench: Bench) -> None:
    """An editable project in a src layout is imported from the build's files."""
    for name, text in SOURCES.items():
        bench.write(name, text)
    await build(bench, "pip install -e . && python -c 'import package; print(package.__file__)'")
    assert "code/src/package/__init__.py" in bench.log


async def test_changed_source_is_built_again(bench: Bench) -> None:
    """uv's cache of an earlier build does not give an old state of the project's own package."""
    for name, text in SOURCES.items():
        bench.write(name, text)
    script = "pip install . && python -c 'import package; print(package.VERSION)'"
    await build(bench, script)
    bench.write("src/package/__init__.py", "VERSION = 'changed'\n")
    await build(bench, script, name="two")
    assert "changed" in bench.log.lines


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    """A private index, which has `third`."""
    made = PackageIndex("s3cr3t")
    made.add("third", "1.0")
    with serving(made):
        yield made


@pytest.mark.parametrize(
    ("script", "variable"),
    [
        ("pip install third", "PIP_INDEX_URL"),
        ("pip install third", "PIP_EXTRA_INDEX_URL"),
        ('pip install -i "$INDEX" third', "INDEX"),
        ("echo '--extra-index-url ${INDEX}\nthird' > own.txt; pip install -r own.txt", "INDEX"),
        ("printf 'machine 127.0.0.1 login user password s3cr3t' > .netrc; "
         'pip install -i "$PLAIN" third', "INDEX"),
    ],
)  # fmt: skip
async def test_private_index(bench: Bench, index: PackageIndex, script: str, variable: str) -> None:
    """An index with a password is given by a variable, an option, a file, or its password by a
    .netrc."""
    index.add("greeting", "1.0")
    plain = f"http://127.0.0.1:{index.port}/simple"
    variables = {variable: index.url, "PIP_NO_INDEX": "0", "PLAIN": plain}
    if variable != "PIP_INDEX_URL":
        variables |= {"PIP_INDEX_URL": index.url}
    seen = await build(bench, script, **variables)
    assert seen.installed == {"third": "1.0"}
    assert seen.served == ["uv"]


async def failure(bench: Bench, requirement: str, **variables: str) -> tuple[str, str]:
    bench.write("model.py", "def predict(args):\n    return args\n")
    bench.write("requirements.txt", requirement)
    bench.write("cdsw-build.sh", "pip install -r requirements.txt")
    make_wheel(bench.project / "wheels", "greeting", "1.0", requires=("second==1",))
    make_wheel(bench.project / "wheels", "second", "2.0")
    with pytest.raises(ScriptFailed) as caught:
        await run_quickly(bench, await bench.spec(variables=OFFLINE | variables))
    return caught.value.problem, caught.value.advice


@pytest.mark.parametrize(
    ("requirement", "problem", "advice"),
    [
        ("nothing-like-it", "Because nothing-like-it was not found", "Check the name"),
        ("second==3", "Because there is no version of second==3", "Check the name"),
        ("greeting\nsecond==2", "Because all versions of greeting depend on second==1", "Relax"),
        ("-r missing.txt", "failed to read from file", "Add the file to the project"),
        (f"second==2.0 --hash=sha256:{'0' * 64}", "Hash mismatch for `second==2.0`", "replaced"),
    ],
)
async def test_mistake_is_told_once(
    bench: Bench, requirement: str, problem: str, advice: str
) -> None:
    """A mistake is told by uv: pip, which would find the same later, does not run."""
    told = await failure(bench, requirement)
    assert told[0].startswith(problem)
    assert advice in told[1]
    assert "pip serves" not in bench.log


async def test_wrong_password_is_told(bench: Bench, index: PackageIndex) -> None:
    """The advice for a refused request is about the credentials."""
    url = index.url.replace("s3cr3t", "wrong")
    _, advice = await failure(bench, "third", PIP_INDEX_URL=url, PIP_NO_INDEX="0")
    assert "credentials" in advice, bench.log.lines

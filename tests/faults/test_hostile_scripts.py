"""What environments share is tried by hostile build scripts, at each level.

The shared things are the store of equal files, the seeds, the caches and the environments. A
success that HOLES does not list fails. Without isolation the attempts succeed, so they are real.
"""

import json
from pathlib import Path

import pytest

from gateway.client import Json
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.faults.test_escape import LEVELS, gateway_of, unavailable
from tests.support.builds import virtualenv_of
from tests.support.polling import until
from tests.support.served_gateway import Gateway, copy, write
from tests.support.skipping import not_here
from tests.support.wheels import make_wheel

MODEL = "import greeting\n\n\ndef tell(args):\n    return greeting.VERSION\n"
INSTALL = "set -e\npip install --no-index wheels/*.whl\n"
# By level: the attempts that succeed. With Landlock alone modes of the gateway's files can be
# changed (gotcha G3 in workers/confinement/README), so there no two projects share a file.
HOLES = {"users": "", "userns": "", "landlock": "change_mode"}


class Shared:
    """A gateway with a victim, whose files are what is shared."""

    def __init__(self, gateway: Gateway, root: Path) -> None:
        self.gateway, self.root = gateway, root
        # A seed of this gateway alone, not that of all tests.
        if (seeds := gateway.data / "seeds").is_symlink():
            seeds.unlink()
        self.victim, build = self.build("victim", INSTALL)
        gateway.deploy(self.victim, build, replicas=1)
        self.build_id = str(build["id"])
        # Bytecode comes after the build.
        until(self._is_compiled, 60)

    def _is_compiled(self) -> bool:
        environment = self._environment()
        return (environment / "compiled").exists() and not (environment / "compiling").exists()

    def build(self, name: str, script: str, **files: str) -> tuple[Json, Json]:
        """A new model of a new project that installs `greeting`, and its build."""
        folder = copy("poison", self.root / name)
        make_wheel(folder / "wheels", "greeting", "1.0")
        write(folder, {"model.py": MODEL, "cdsw-build.sh": script, **files})
        model = self.gateway.model(self.gateway.project(folder), "tell")
        return model, self.gateway.build(model, "model.py", "tell")

    @property
    def greeting(self) -> Path:
        """The module of the victim, one with the entry of the store."""
        [found] = virtualenv_of(self.gateway.data, self.build_id).rglob("greeting.py")
        return found

    def targets(self) -> dict[str, str]:
        data, greeting = self.gateway.data, self.greeting
        facts = greeting.stat()
        entries = [path for path in (data / "files").rglob("*") if path.is_file()]
        [entry] = [path for path in entries if path.stat().st_ino == facts.st_ino]
        [seed] = (path for path in (data / "seeds").iterdir() if path.name[0] != ".")
        cache = data / "cache/pip" / self.victim["project"]["id"]
        return {
            "an entry of the store": str(entry),
            "the store": str(entry.parent),
            "a seed": str(seed),
            "a file of a seed": str(seed / "pyvenv.cfg"),
            "another project's cache": str(cache),
            "another project's environment": str(greeting.parent),
            "a file of another project's environment": str(greeting),
            "the seal of another project's environment": str(self._environment() / "sealed"),
        }

    def _environment(self) -> Path:
        return virtualenv_of(self.gateway.data, self.build_id).parent

    def content(self) -> dict[str, bytes]:
        """All that is shared, byte for byte."""
        seeds, environment, store = (
            [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
            for root in (
                self.gateway.data / "seeds",
                self._environment(),
                self.gateway.data / "files",
            )
        )
        own = {path.stat().st_ino for path in environment}
        found = [*seeds, *environment, *(path for path in store if path.stat().st_ino in own)]
        return {str(path): path.read_bytes() for path in found}

    def succeeded(self, build: Json) -> set[str]:
        [result] = (self.gateway.data / "builds" / str(build["id"])).rglob("result.json")
        return set(json.loads(result.read_text()))

    def check_others(self, name: str) -> None:
        """The victim answers, and a new project gets what it asked for."""
        assert self.gateway.call(self.victim, {}).body["response"] == "1.0"
        model, build = self.build(name, INSTALL)
        assert build["status"] == "built", build["failure"]
        self.gateway.deploy(model, build, replicas=1)
        assert self.gateway.call(model, {}).body["response"] == "1.0"


@fault(
    "a build script attacks what environments share",
    injection="reads, writes, links and renames at the store, seeds, caches and environments",
    bound="nothing succeeds but what the level is known not to hold; other builds stay right",
)
@pytest.mark.parametrize("level", LEVELS)
def test_hostile_scripts(tmp_path: Path, observe: Observe, level: str) -> None:
    """A script neither reads nor changes what other projects' environments are made from."""
    if why := unavailable(level):
        not_here(why)
    with gateway_of(level, tmp_path) as gateway:
        shared = Shared(gateway, tmp_path)
        before = shared.content()
        targets = json.dumps(shared.targets())
        script = f"{INSTALL}python poison.py targets.json result.json\n"
        _, build = shared.build("hostile", script, **{"targets.json": targets})
        assert build["status"] == "built", build["failure"]
        succeeded = shared.succeeded(build)
        observe(f"{level}: {', '.join(sorted(succeeded)) or 'nothing'} succeeds")
        assert not {each for each in succeeded if each.split()[0] != HOLES[level]}
        assert shared.content() == before
        shared.check_others("next")


@fault(
    "the same without confinement",
    injection="the same script with isolation = none",
    bound="the attempts succeed: they are real ones",
)
def test_hostile_script_succeeds_without_isolation(tmp_path: Path, observe: Observe) -> None:
    """Without isolation the script gets what it is after, and projects share no files."""
    with gateway_of("none", tmp_path) as gateway:
        shared = Shared(gateway, tmp_path)
        targets = shared.targets()
        script = "python poison.py targets.json result.json\n"
        files = {"targets.json": json.dumps(targets), "model.py": "def tell(args): ...\n"}
        _, build = shared.build("hostile", script, **files)
        assert build["status"] == "built", build["failure"]
        succeeded = shared.succeeded(build)
        observe(f"{len(succeeded)} attempts succeed")
        assert succeeded >= {f"read {name}" for name in targets}
        assert succeeded >= {"write an entry of the store", "write a seed", "link_in the store"}
        stores = {path.name for path in (gateway.data / "files").iterdir()}
    assert shared.victim["project"]["id"] in stores
    assert "shared" not in stores


# What a script leaves in its environment, and whether that ends its build.
LEFT = {
    "a pipe": 'mkfifo "$VIRTUAL_ENV/pipe" pipe',
    "a sparse file": 'truncate -s 100M "$VIRTUAL_ENV/sparse" sparse',
    "a device": 'mknod "$VIRTUAL_ENV/device" c 1 3',
    "links": 'ln -s / "$VIRTUAL_ENV/lib/root"; ln -s /dev/zero "$VIRTUAL_ENV/zero"; ln -s . loop',
    "names of links": 'touch {"$VIRTUAL_ENV/",}.predictd-link-{0,1}',
    "another package under the same name": 'echo \'VERSION = "poison"\' >"$(python -c "import '
    'greeting; print(greeting.__file__)")"',
    "bytecode of something else": "python -c 'import greeting' && python - <<'END'\n"
    "import glob, importlib.util, os, py_compile, sys\n"
    "open('evil.py', 'w').write('VERSION = \"poison\"\\n')\n"
    "[source] = glob.glob(sys.prefix + '/lib/python*/site-packages/greeting.py')\n"
    "py_compile.compile('evil.py', importlib.util.cache_from_source(source),"
    " invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)\n"
    "END",
}


@fault(
    "a build script leaves odd files in its environment",
    injection="pipes, devices, sparse files, links, false packages and bytecode",
    bound="the build ends in time; another project's build stays right",
)
@pytest.mark.parametrize("level", LEVELS)
def test_odd_files_of_scripts(tmp_path: Path, level: str) -> None:
    """What a script leaves in its own environment reaches no other."""
    if why := unavailable(level):
        not_here(why)
    with gateway_of(level, tmp_path) as gateway:
        shared = Shared(gateway, tmp_path)
        before = shared.content()
        for number, leave in enumerate(LEFT.values()):
            _, build = shared.build(f"odd-{number}", f"{INSTALL}set +e\n{leave}\ntrue\n")
            assert build["status"] in ("built", "build failed"), build
        assert shared.content() == before
        shared.check_others("next")


@fault(
    "a build script rewrites its project's earlier environment",
    injection="a later build's script writes, links and renames at files of the sealed one",
    bound="the sealed one stays, and the model that serves from it answers as before",
)
def test_sealed_file_cannot_be_replaced(tmp_path: Path) -> None:
    """A script that rewrites a file of its project's earlier environment, which it may read,
    changes a file of its own new one; the sealed one stays."""
    with Gateway(tmp_path / "data") as gateway:
        shared = Shared(gateway, tmp_path)
        before = shared.content()
        folder = tmp_path / "victim"
        write(
            folder,
            {
                "targets.json": json.dumps({"own": str(shared.greeting)}),
                "cdsw-build.sh": f"{INSTALL}python poison.py targets.json result.json\n",
            },
        )
        build = gateway.build(shared.victim, "model.py", "tell")
        assert build["status"] == "built", build["failure"]
        if gateway.client.get("/site")["isolation"]["level"] in ("users", "userns"):
            assert shared.succeeded(build) <= {"read own"}
        assert shared.content() == before
        assert gateway.call(shared.victim, {}).body["response"] == "1.0"

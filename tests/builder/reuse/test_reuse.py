"""An environment is made once for all that its script has read."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from builder.build import BuildReport
from builder.errors import ProbeFailed
from builder.interpreters import Interpreter
from builder.reuse.access_times import is_exact
from builder.spec import BuildSpec, Probed
from tests.support.builder import Bench
from tests.support.skipping import not_here


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    if not is_exact(tmp_path):
        not_here("access times are not exact")
    bench = Bench(tmp_path)
    bench.write("model.py", "def predict(x): return x")
    bench.write("read.txt", "one")
    bench.write("other.txt", "one")
    return bench


async def build(bench: Bench, name: str, **changes: Any) -> str:
    """The environment of a new build."""
    report: BuildReport = await bench.build(name, **changes)
    assert report.outcome == "built", report.failure
    return bench.shelf.environment_of(name)


# Each reads `read.txt` in another way.
READERS = {
    "open": "cat read.txt > /dev/null",
    "a shell": "read -r line < read.txt || true",
    "mmap": 'python3 -c \'import mmap; f = open("read.txt", "rb"); '
    "mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[0]'",
    "source": "source ./read.txt 2> /dev/null || true",
    "exec": "bash ./read.txt 2> /dev/null || true",
    "a link": "ln -s read.txt link; cat link > /dev/null",
    "a hard link": "ln read.txt hard; cat hard > /dev/null; rm hard",
    "rename": "mv read.txt moved; cat moved > /dev/null; mv moved read.txt",
    "reflink": "cp --reflink=auto read.txt copy",
    "a child": "(setsid cat read.txt > /dev/null)",
    "tar": "tar cf all.tar read.txt",
    "sendfile": 'python3 -c \'import os; f = os.open("read.txt", 0); o = os.open("out", 65); '
    "os.sendfile(o, f, 0, 3)'",
    "change": "echo more >> read.txt",
    "removal": "rm read.txt",
    "the same time": "touch -r other.txt read.txt",
}


@pytest.mark.parametrize("how", READERS)
async def test_what_a_script_reads_counts(bench: Bench, how: str) -> None:
    """An environment is used again until a file changes that its script has read, in any way; a
    file that was not read may change."""
    bench.write("cdsw-build.sh", READERS[how])
    first = await build(bench, "one")
    assert await build(bench, "two") == first
    bench.write("model.py", "def predict(x): return 2 * x")
    if how != "the same time":
        bench.write("other.txt", "two")
    assert await build(bench, "three") == first
    bench.write("read.txt", "two")
    assert await build(bench, "four") != first


async def test_what_a_script_made_is_made_again(bench: Bench) -> None:
    """A build with an environment that was made before has the files that its script would have
    left: new, changed and removed ones, folders and links."""
    bench.write("gone/deep/file", "x")
    bench.write("becomes-a-folder", "x")
    bench.write("cdsw-build.sh", SCRIPT)
    first = await build(bench, "one")
    bench.write("model.py", "def predict(x): return 2 * x")
    assert await build(bench, "two") == first
    one, two = (tree(bench.shelf.code(name)) for name in ("one", "two"))
    assert one.pop("model.py") != two.pop("model.py")
    assert one == two
    assert two["made/new.txt"] == "new"
    assert "gone/deep" not in two
    assert two["becomes-a-folder/file"] == "y"


SCRIPT = """
mkdir made empty
printf new > made/new.txt
chmod 755 other.txt
echo more >> other.txt
rm -r gone/deep becomes-a-folder
mkdir becomes-a-folder
printf y > becomes-a-folder/file
ln -s made/new.txt link
printf '\\377' > "$(printf 'odd\\377')"
"""


def tree(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder)).decode("latin-1")
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = path.read_bytes().decode("latin-1")
            found[f"{name} mode"] = oct(path.stat().st_mode)
    return found


DIFFERENT = {
    "a new file": lambda bench: bench.write("new.txt"),
    "permissions": lambda bench: bench.project.joinpath("other.txt").chmod(0o755),
    "emptiness": lambda bench: bench.write("other.txt", ""),
    "the script": lambda bench: bench.write("cdsw-build.sh", "cat read.txt; true"),
}


@pytest.mark.parametrize("what", DIFFERENT)
async def test_names_and_kinds_count(bench: Bench, what: str) -> None:
    """The names, permissions and emptiness of all files count, read or not, and so does the
    script."""
    bench.write("cdsw-build.sh", "cat read.txt")
    first = await build(bench, "one")
    DIFFERENT[what](bench)
    assert await build(bench, "two") != first


@pytest.mark.parametrize(
    "changes",
    [{"project": "another"}, {"variables_id": "b"}, {"network": "none"}, {"fresh": True}],
    ids=str,
)
async def test_circumstances_count(bench: Bench, changes: dict[str, Any]) -> None:
    """Another project, other variables or network, and a fresh build have an environment of their
    own."""
    bench.write("cdsw-build.sh", "cat read.txt")
    first = await build(bench, "one")
    second = await build(bench, "two", **changes)
    assert second != first
    # The last one that fits is used.
    assert await build(bench, "three") == (second if changes.get("fresh") else first)


async def test_no_script_needs_no_files(bench: Bench) -> None:
    """Without a script, all builds of a project share an environment."""
    first = await build(bench, "one")
    bench.write("new.txt")
    assert await build(bench, "two") == first


async def test_environment_is_sealed_during_the_probe(bench: Bench) -> None:
    """The model is probed while its environment is sealed."""

    async def probe(spec: BuildSpec, interpreter: Interpreter) -> Probed:
        while bench.environments.sealed(spec.environment.name) is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
        return Probed()

    bench.write("cdsw-build.sh", "cat read.txt")
    await build(bench, "one", probe=probe)


async def test_probe_sees_the_shared_libraries(bench: Bench) -> None:
    """A process maps its libraries as long as it runs: a file that was replaced afterwards would
    take its bytes a second time."""
    shared: dict[str, list[int]] = {}

    async def probe(spec: BuildSpec, interpreter: Interpreter) -> Probed:
        shared[spec.environment.name] = [
            (spec.virtualenv / name).stat().st_nlink for name in ("one.so", "two.so.3", "module.py")
        ]
        while bench.environments.sealed(spec.environment.name) is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
        return Probed()

    bench.write(
        "cdsw-build.sh",
        'for name in one.so two.so.3 module.py; do echo "# $name" > "$VIRTUAL_ENV/$name"; done',
    )
    first = await build(bench, "one", probe=probe)
    second = await build(bench, "two", probe=probe, fresh=True)
    assert shared[first] == [1, 1, 1]
    # Their names: in the store, in both environments.
    assert shared[second][:2] == [3, 3]
    assert (bench.environments.virtualenv(second) / "module.py").stat().st_nlink == 3


async def test_failed_probe_leaves_the_environment(bench: Bench) -> None:
    """The environment of a model that does not start is there for the next build."""

    async def probe(spec: BuildSpec, interpreter: Interpreter) -> Probed:
        raise ProbeFailed("The model did not start", "NameError: x", "Define x.")

    bench.write("cdsw-build.sh", "cat read.txt")
    report = await bench.build("one", probe=probe)
    assert report.outcome == "failed"
    assert await build(bench, "two") == "one"


async def test_equal_builds_at_once_share_one(bench: Bench) -> None:
    """The second of two equal builds waits for the environment of the first."""
    bench.write("cdsw-build.sh", "cat read.txt; sleep 0.3")
    made: list[str] = []

    async def make(name: str) -> None:
        made.append(await build(bench, name))

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(make, name)
    assert len(set(made)) == 1
    assert len(bench.environments.names()) == 1


async def test_environment_stays_while_it_is_named_or_used(bench: Bench) -> None:
    """An environment is removed when its last build is, and not while something uses it."""
    first = await build(bench, "one")
    assert await build(bench, "two") == first
    await bench.shelf.remove("one")
    assert bench.environments.sealed(first)
    with bench.environments.in_use(first):
        await bench.shelf.remove("two")
        assert not await bench.shelf.remove_environment(first)
    assert await bench.shelf.remove_environment(first)
    assert bench.environments.names() == []

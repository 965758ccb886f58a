"""The lock of a real environment: what its script installed, from where, with hashes."""

import hashlib
import tomllib
from collections.abc import Iterator

import pytest
from packaging.pylock import Pylock

from builder.build import BuildReport
from builder.lock.pylock import Package, read_lock
from tests.support.builder import Bench
from tests.support.package_index import PackageIndex, serving, wheel

MODEL = "def predict(args):\n    return args\n"


def locked(report: BuildReport) -> str:
    assert report.lock is not None, report.failure
    return report.lock.text


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving(PackageIndex(password="secret")) as served:
        yield served


async def test_lock_has_all_that_was_installed(bench: Bench, index: PackageIndex) -> None:
    """Packages of an index, archives and folders are in the lock with sources and hashes; no
    password is. The lock lies beside the environment."""
    index.add("greeting", "1.0", requires=("polite",))
    index.add("polite", "2.5")
    index.add("polite", "2.4")
    bench.write("model.py", MODEL)
    bench.write("wheels/packed-3.0-py3-none-any.whl", wheel("packed", "3.0"))
    bench.write("mine/pyproject.toml", "[project]\nname = 'mine'\nversion = '1'\n")
    # A folder installed by hand: no test may need a build backend of the index.
    bench.write(
        "cdsw-build.sh",
        """
        set -e
        pip install greeting wheels/packed-3.0-py3-none-any.whl
        made=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mine-1.dist-info
        mkdir "$made"
        printf 'Metadata-Version: 2.1\\nName: mine\\nVersion: 1\\n' > "$made/METADATA"
        printf '{"url": "file://%s/mine", "dir_info": {"editable": true}}' "$HOME" \\
            > "$made/direct_url.json"
        """,
    )
    report = await bench.build(variables={"PIP_INDEX_URL": index.url})
    assert report.outcome == "built", report.failure
    text = locked(report)
    manifest = bench.shelf.sealed("one")
    assert manifest is not None
    assert (bench.environments.folder(manifest.environment) / "pylock.toml").read_text() == text
    Pylock.from_dict(tomllib.loads(text))
    assert "secret" not in text
    assert str(bench.shelf.root) not in text

    packages = {each.name: each for each in read_lock(locked(report)).packages}
    assert {name: each.version for name, each in packages.items()} == {
        "greeting": "1.0",
        "mine": "1",
        "packed": "3.0",
        "polite": "2.5",
    }
    file = "polite-2.5-py3-none-any.whl"
    (found,) = packages["polite"].wheels
    assert found.url == f"http://127.0.0.1:{index.port}/files/{file}"
    assert found.hashes == {"sha256": hashlib.sha256(index.files[file]).hexdigest()}
    assert packages["mine"].source == "editable folder mine"
    assert packages["packed"].source == "wheels/packed-3.0-py3-none-any.whl"


async def test_indexes_are_those_of_the_script(bench: Bench, index: PackageIndex) -> None:
    """Files are found in the indexes and folders that the script itself names, also in a
    requirements file; a folder of the project is named by its path there."""
    index.add("greeting", "1.0")
    bench.write("model.py", MODEL)
    bench.write("deps/wheels/polite-2.0-py3-none-any.whl", wheel("polite", "2.0"))
    bench.write("deps/requirements.txt", f"--index-url {index.url}\ngreeting\n")
    bench.write(
        "cdsw-build.sh",
        """
        set -e
        cd deps
        pip install --no-index -f wheels polite
        pip install -r requirements.txt
        """,
    )
    report = await bench.build()
    lock = read_lock(locked(report))
    assert [(each.name, each.wheels[0].url or each.wheels[0].path) for each in lock.packages] == [
        ("greeting", f"http://127.0.0.1:{index.port}/files/greeting-1.0-py3-none-any.whl"),
        ("polite", "deps/wheels/polite-2.0-py3-none-any.whl"),
    ]
    assert "secret" not in locked(report)


class VanishingIndex(PackageIndex):
    """Has nothing any more after it was asked for `/end`."""

    def answer(self, path: str) -> tuple[str, bytes] | None:
        if path == "/end":
            self.files.clear()
        return super().answer(path)


async def test_lock_needs_no_index_after_the_script(bench: Bench) -> None:
    """The files of packages that uv has installed are known without the index."""
    with serving(VanishingIndex()) as index:
        index.add("greeting", "1.0")
        digest = hashlib.sha256(index.files["greeting-1.0-py3-none-any.whl"]).hexdigest()
        end = f"http://127.0.0.1:{index.port}/end"
        bench.write("model.py", MODEL)
        bench.write(
            "cdsw-build.sh",
            f"""
            pip install -i {index.url} greeting
            python3 -c 'import urllib.request as it; it.urlopen("{end}")' || true
            """,
        )
        report = await bench.build()
        assert index.files == {}
    [greeting] = read_lock(locked(report)).packages
    assert greeting.wheels[0].hashes == {"sha256": digest}


@pytest.mark.parametrize(
    ("variables", "because"),
    [
        ({"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}, "the package index did not answer"),
        ({"PIP_NO_INDEX": "1"}, "the package index does not have them"),
    ],
)
async def test_lock_without_index_says_so(
    bench: Bench, variables: dict[str, str], because: str
) -> None:
    """Without an index, or where it lacks a package, the packages are in the lock without hashes,
    which says why."""
    bench.write("model.py", MODEL)
    bench.write("wheels/greeting-1.0-py3-none-any.whl", wheel("greeting", "1.0"))
    bench.write("cdsw-build.sh", "pip install --no-index --find-links wheels greeting")
    report = await bench.build(variables=variables | {"PREDICTD_PIP": "pip"})
    assert report.outcome == "built", report.failure
    lock = read_lock(locked(report))
    assert lock.packages == [Package(name="greeting", version="1.0")]
    assert lock.unhashed_because == because
    assert f"Locked without hashes: greeting ({because})" in bench.log


async def test_empty_environment_has_an_empty_lock(bench: Bench) -> None:
    """A build without a script has a lock without packages."""
    bench.write("model.py", MODEL)
    report = await bench.build()
    assert read_lock(locked(report)).packages == []

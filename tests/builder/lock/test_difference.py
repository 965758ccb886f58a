"""The difference of two locks names each package that was added, removed or changed."""

from builder.lock.difference import Change, compare
from builder.lock.pylock import Lock, LockedFile, LockedRepository, Package


def lock(*packages: Package) -> Lock:
    return Lock(python="3.11.7", packages=list(packages))


def of_index(name: str, version: str, digest: str = "aa", tag: str = "py3-none-any") -> Package:
    wheel = LockedFile(url=f"https://host/{name}-{version}-{tag}.whl", hashes={"sha256": digest})
    return Package(name=name, version=version, wheels=[wheel])


def of_git(commit: str) -> Package:
    vcs = LockedRepository(type="git", url="https://host/g", commit_id=commit)
    return Package(name="g", version="1", vcs=vcs)


def test_equal_locks_have_no_difference() -> None:
    """Equal packages, another wheel of a version, and missing hashes are no difference."""
    before = lock(
        of_index("a", "1"), of_git("1"), of_index("b", "1", tag="cp311-cp311-linux_x86_64")
    )
    after = lock(
        Package(name="a", version="1"),
        of_git("1"),
        of_index("b", "1", "bb", "cp311-cp311-linux_a64"),
    )
    assert compare(before, after) == []


def test_each_kind_of_change_is_named() -> None:
    """Added, removed, another version, another commit, other bytes under one name."""
    before = lock(of_index("a", "1"), of_index("b", "1"), of_index("d", "1"), of_git("1"))
    after = lock(of_index("b", "2"), of_index("c", "1"), of_index("d", "1", "bb"), of_git("2"))
    assert compare(before, after) == [
        Change(name="a", kind="removed", before="1", after=""),
        Change(name="b", kind="version", before="1", after="2"),
        Change(name="c", kind="added", before="", after="1"),
        Change(name="d", kind="files", before="1", after="1"),
        Change(
            name="g", kind="source", before="git+https://host/g@1", after="git+https://host/g@2"
        ),
    ]

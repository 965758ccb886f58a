"""What a script has read decides about its environment, and nothing that it has not read."""

from hypothesis import given
from hypothesis import strategies as st

from builder.reuse.environment_key import (
    KeyParts,
    TreeEntry,
    is_same,
    key_of,
    names_in,
    path_of,
    reads_of,
    text_of,
)

PARTS = KeyParts(project="p", interpreter=("i",), script="s", network="machine", variables="v")
NAMES = st.text("0123456789abcdef", min_size=40, max_size=40)
FILES = st.dictionaries(st.binary(min_size=1, max_size=8), NAMES, min_size=1, max_size=8)


def tree(files: dict[bytes, str]) -> list[TreeEntry]:
    return [TreeEntry("100644", name, path) for path, name in files.items()]


@given(FILES, st.data())
def test_content_counts_where_it_was_read(files: dict[bytes, str], data: st.DataObject) -> None:
    """With another content of one file the environment is right exactly if that was not read."""
    read = data.draw(st.sets(st.sampled_from(sorted(files))))
    changed = data.draw(st.sampled_from(sorted(files)))
    name = data.draw(NAMES.filter(lambda name: name != files[changed]))
    now = tree({**files, changed: name})
    reads = reads_of(read, tree(files), "before")
    assert is_same(reads, names_in(tree(files)), "now")
    assert is_same(reads, names_in(now), "now") == (changed not in read)
    assert not is_same(reads_of(None, tree(files), "before"), names_in(now), "now")


@given(FILES, FILES)
def test_names_count_always(one: dict[bytes, str], two: dict[bytes, str]) -> None:
    """Keys are equal exactly if the paths are; the order of the entries does not matter."""
    backwards = list(reversed(tree(one)))
    assert key_of(PARTS, tree(one)) == key_of(PARTS, backwards)
    assert (key_of(PARTS, tree(one)) == key_of(PARTS, tree(two))) == (one.keys() == two.keys())


@given(st.binary())
def test_paths_of_any_bytes_are_kept(path: bytes) -> None:
    """A path is kept as text and read back."""
    assert path_of(text_of(path)) == path

"""A bounded cache keeps what was used last, and no more than its bound."""

from builder.bounded_cache import BoundedCache


def test_least_recently_used_values_go() -> None:
    """A value that was used stays longer than one that was not."""
    cache: BoundedCache[str, str] = BoundedCache(4)
    for name in "abcd":
        cache.put(name, name.upper())
    assert cache.get("a") == "A"
    cache.put("e", "E")
    assert [name for name in "abcde" if cache.get(name)] == ["a", "c", "d", "e"]


def test_values_go_by_their_weight() -> None:
    """A heavy value takes the place of several; one beyond a quarter of the bound is not kept."""
    cache: BoundedCache[str, str] = BoundedCache(8)
    for name in "abcdefgh":
        cache.put(name, name)
    cache.put("heavy", "heavy", 2)
    cache.put("too heavy", "too heavy", 3)
    kept = [name for name in (*"abcdefgh", "heavy", "too heavy") if cache.get(name)]
    assert kept == [*"cdefgh", "heavy"]


def test_value_is_kept_once() -> None:
    """The first value of a key stays, and its weight counts once."""
    cache: BoundedCache[str, int] = BoundedCache(4)
    for number in range(9):
        cache.put("a", number)
    cache.put("b", 1)
    assert (cache.get("a"), cache.get("b")) == (0, 1)

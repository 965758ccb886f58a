"""Sizes in words."""

import pytest

from workers.sizes import GIB, MIB, human_size


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1_300_000, "1.24 MiB"),
        (512 * MIB, "512 MiB"),
        (1.5 * GIB, "1.5 GiB"),
        (1 << 41, "2048 GiB"),
    ],
)
def test_human_size_uses_the_largest_unit(count: float, words: str) -> None:
    """A size has the largest unit that it reaches, and three digits."""
    assert human_size(count) == words

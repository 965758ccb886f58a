"""Sizes in bytes: the units, and a size in words."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
_UNITS = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B"))


def human_size(count: float) -> str:
    """A number of bytes with three digits: "512 MiB", "1.5 GiB", "0 B"."""
    size, unit = next((each for each in _UNITS if count >= each[0]), _UNITS[-1])
    amount = count / size
    return f"{amount:.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"

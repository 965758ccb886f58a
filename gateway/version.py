"""Which predictd this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The installed distribution's version; "0" where the code runs without being installed."""
    try:
        return installed_version("predictd")
    except PackageNotFoundError:
        return "0"

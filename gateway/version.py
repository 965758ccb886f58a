"""The version of predictd."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The version of the installed distribution; "0" if the code is not installed."""
    try:
        return installed_version("predictd")
    except PackageNotFoundError:
        return "0"

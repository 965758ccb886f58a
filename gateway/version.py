"""The version of predictd."""

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


@cache
def version() -> str:
    """The version of the installed distribution; "0" if the code is not installed. To read it takes
    half a millisecond."""
    try:
        return installed_version("predictd")
    except PackageNotFoundError:
        return "0"

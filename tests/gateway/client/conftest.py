"""The command line's fixtures: a gateway, and its data folder."""

from tests.gateway.cli.conftest import data, state

__all__ = ["data", "state"]

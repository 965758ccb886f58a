"""The command `predictd`; see README.md in this folder."""

from gateway.cli.main import main
from gateway.cli.parser import make_parser

__all__ = ["main", "make_parser"]

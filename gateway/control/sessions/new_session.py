"""What is asked for when a session is opened."""

from typing import Literal

import msgspec

import builder
from store import Build, Deployment
from workers import Network

Kind = Literal["function", "shell", "python", "r"]


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """A `function` of a file that is called, or a program in a terminal of this size: a `shell`,
    `python` or `r`.

    It is in the environment of the project's present files, or of a `build`, with the variables of
    a `deployment`.
    """

    kind: Kind
    file: str = ""
    function: str = ""
    kernel: str = ""
    model_root: str = ""
    script: str = builder.DEFAULT_SCRIPT
    network: Network = "machine"
    memory_mb: int
    nvidia_gpus: int = 0
    rows: int = 24
    columns: int = 80
    term: str = "dumb"
    build: Build | None = None
    deployment: Deployment | None = None

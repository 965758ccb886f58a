"""The body of a form with files, in pieces: `multipart/form-data` of RFC 7578."""

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

_PIECE = 256 * 1024


def multipart(files: Iterable[tuple[str, BinaryIO]]) -> tuple[str, Iterator[bytes]]:
    """The boundary and the body of a form with these files. Each name is the path that the file
    gets in its project."""
    boundary = os.urandom(16).hex()

    def body() -> Iterator[bytes]:
        for path, file in files:
            name = path.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
            yield (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
                f'filename="{name.rpartition("/")[2]}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            while piece := file.read(_PIECE):
                yield piece
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return boundary, body()

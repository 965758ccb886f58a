"""The file that tells the command line on this machine where the gateway is, while it is there."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator

import store
from gateway.data_folder import DataFolder

logger = logging.getLogger(__name__)

# Also with a certificate in it; a file takes a block of 4 KiB anyway.
_LENGTH = 4095


@contextlib.contextmanager
def address_written(data: DataFolder, url: str, certificate: str = "") -> Iterator[None]:
    """Tells where the gateway is; with TLS also by which certificate (PEM) to know it."""
    write_address(data, url, certificate)
    try:
        yield
    finally:
        try:
            data.address.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("cannot remove %s: %s", data.address, error)


def write_address(data: DataFolder, url: str, certificate: str) -> None:
    """The same, until it is written again."""
    address = {"url": url, "pid": os.getpid()}
    if certificate:
        address["certificate"] = certificate
    told = json.dumps(address).ljust(_LENGTH) + "\n"
    try:
        _write(data, told.encode())
    except OSError as error:
        # Serving matters more than being found without --url.
        logger.warning("cannot write %s: %s", data.address, error)


def _write(data: DataFolder, told: bytes) -> None:
    path = data.address
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600, exist_ok=False)
        fresh.write_bytes(told)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        # The disk is full. Over what a killed gateway left there is room, since all are of one
        # length; else a file of the room for a start becomes this one.
        if not path.exists():
            store.StartRoom(data.start_room).lend(path)
        with open(path, "r+b", buffering=0) as file:
            file.write(told)
            file.truncate()

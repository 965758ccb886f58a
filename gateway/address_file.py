"""gateway.json: by it the command line on this machine finds the running gateway."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator

import store
from gateway.data_folder import DataFolder

logger = logging.getLogger(__name__)

# Bytes, always the same, so that a new address fits over an old one on a full disk. There is space
# for a certificate; a file takes a block of 4 KiB anyway.
_LENGTH = 4095


@contextlib.contextmanager
def address_written(data: DataFolder, url: str, certificate: str = "") -> Iterator[None]:
    """Writes the URL, the process id and, with TLS, the certificate (PEM); removes them at the
    end."""
    write_address(data, url, certificate)
    try:
        yield
    finally:
        try:
            data.address.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("address_file.kept path=%s: %s", data.address, error)


def write_address(data: DataFolder, url: str, certificate: str) -> None:
    """Writes the address, over an earlier one if there is one."""
    address = {"url": url, "pid": os.getpid()}
    if certificate:
        address["certificate"] = certificate
    text = json.dumps(address).ljust(_LENGTH) + "\n"
    try:
        _write(data, text.encode())
    except OSError as error:
        # The gateway serves all the same: clients need --url.
        logger.warning("address_file.not_written path=%s: %s", data.address, error)


def _write(data: DataFolder, content: bytes) -> None:
    path = data.address
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600, exist_ok=False)
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        # The disk is full. The file of a killed gateway can be overwritten, since all have one
        # length; otherwise a file that was reserved for a start becomes this one.
        if not path.exists():
            store.StartReserve(data.start_room).lend(path)
        with open(path, "r+b", buffering=0) as file:
            file.write(content)
            file.truncate()

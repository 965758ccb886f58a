"""What the gateway's tests share: a gateway of their own, or one with sample models for all."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import trustme

from gateway.settings import Settings
from tests.support.gateway import (
    Gateway,
    copy_of,
    in_a_process,
    running,
    settings_for,
    speaking_to,
    url_in,
)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A fresh gateway in the test's own Trio run."""
    async with running(settings_for(tmp_path / "data")) as gateway:
        yield gateway


class Samples(NamedTuple):
    """A gateway for many tests and the access keys of its models: change nothing of them."""

    data: Path
    add: str
    badly: str
    idle: str  # never deployed


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    folder = tmp_path_factory.mktemp("samples")
    data = folder / "data"
    with in_a_process(data):
        keys = trio.run(_deploy_samples, folder)
        yield Samples(data, *keys)


async def _deploy_samples(folder: Path) -> list[str]:
    data = folder / "data"
    async with speaking_to(url_in(data), data) as gateway:
        models = []
        for name, what in (("add", "add.py:add"), ("badly", "badly.py:behave")):
            project = await gateway.project(copy_of(name, folder))
            models.append(await gateway.model(project, name))
            await gateway.deployed(await gateway.built(models[-1], what))
        models.append(await gateway.model(project, "idle"))
        return [await gateway.key(model) for model in models]


@pytest.fixture
async def shared(samples: Samples) -> AsyncIterator[Gateway]:
    """The gateway of the sample models."""
    async with speaking_to(url_in(samples.data), samples.data) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who vouches for the certificates of these tests."""
    return trustme.CA()


@pytest.fixture(scope="session")
def certified(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that name a certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost")
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(folder / "certificate.pem", append=number > 0)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return Settings(
        tls_certificate=str(folder / "certificate.pem"), tls_key=str(folder / "key.pem")
    )

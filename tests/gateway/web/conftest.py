"""What tests of pages share: browsers with a session on the gateway of the sample models."""

from collections.abc import AsyncIterator

import pytest

from tests.support.browsers import Browser, browser_of
from tests.support.gateway import Gateway


@pytest.fixture
async def browser(shared: Gateway) -> AsyncIterator[Browser]:
    """Of a user of this test alone, who is no administrator."""
    async with browser_of(shared) as browser:
        yield browser


@pytest.fixture
async def administrator(shared: Gateway) -> AsyncIterator[Browser]:
    """Of an administrator of this test alone."""
    async with browser_of(shared, administrator=True) as browser:
        yield browser

"""Settings that change at run time: kept, fixed elsewhere, and felt by all that hold them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import store
from gateway.control.runtime_settings import RuntimeSettings
from gateway.encryption import Encryption
from gateway.errors import Refusal
from gateway.settings import SETTINGS, LoadedSettings, Settings
from store import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with store.open_database(tmp_path / "predictd.db") as database:
        yield database


ENCRYPTION = Encryption("5f" * 32)


def at_the_start(
    database: Database,
    sources: dict[str, str] | None = None,
    encryption: Encryption = ENCRYPTION,
    **kept: Any,
) -> RuntimeSettings:
    given = LoadedSettings(
        Settings(build_timeout=60.0), sources or {"build_timeout": "the environment"}
    )
    return RuntimeSettings(given, kept, database, encryption)


async def test_a_change_holds_and_is_kept(database: Database) -> None:
    """A value is in force at once and after the next start, and subscribers are notified."""
    site, told = at_the_start(database), list[float]()
    site.subscribe(lambda settings: told.append(settings.model_request_timeout))
    await site.change({"model_request_timeout": "7", "max_request_size": "2MiB"})
    assert (site.current.model_request_timeout, site.current.max_request_size) == (7.0, 2 << 20)
    assert told == [30.0, 7.0]
    again = at_the_start(database, **await database.read(store.site.settings))
    assert again.current == site.current
    await again.reset("model_request_timeout")
    assert again.current.model_request_timeout == 30.0
    assert set(await database.read(store.site.settings)) == {"max_request_size"}


async def test_what_is_fixed_elsewhere_is_refused(database: Database) -> None:
    """What a flag, the environment or the file says cannot be changed; the refusal says where."""
    site = at_the_start(database)
    with pytest.raises(Refusal, match="fixed by the environment") as refused:
        await site.change({"max_replicas": 3, "build_timeout": 5})
    assert refused.value.code == "setting.fixed"
    assert (site.current.max_replicas, site.current.build_timeout) == (9, 60.0)
    assert await database.read(store.site.settings) == {}


async def test_what_is_fixed_later_wins_while_it_is(database: Database) -> None:
    """What was set here and is fixed at a later start is what is fixed, until it no longer is."""
    kept: dict[str, Any] = {"build_timeout": 5.0}
    assert at_the_start(database, **kept).current.build_timeout == 60.0
    assert at_the_start(database, {"port": "a flag"}, **kept).current.build_timeout == 5.0


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("port", 81, "setting.restart"),
        ("data", "/elsewhere", "setting.restart"),
        ("prot", 81, "setting.notfound"),
        ("max_replicas", 0, "argument.invalid"),
        ("max_request_size", "5 parsecs", "argument.invalid"),
        ("environment", {"a b": "c"}, "argument.invalid"),
        ("max_concurrent_builds", 1.5, "argument.invalid"),
    ],
)
async def test_what_cannot_be(database: Database, name: str, value: object, code: str) -> None:
    """What is read at the start only, what there is not, and what does not fit is told apart."""
    site = at_the_start(database)
    with pytest.raises(Refusal) as refused:
        await site.change({name: value})
    assert refused.value.code == code
    assert name in refused.value.message


async def test_what_an_earlier_gateway_kept_and_this_one_has_no_use_for(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A kept value that no longer fits is left out and told, but not what it was; the others
    hold."""
    kept: dict[str, Any] = {
        "gone": 1,
        "max_replicas": -1,
        "port": 81,
        "environment": {"1": "secret"},
    }
    site = at_the_start(database, **kept, max_upload_size=7)
    assert site.current == Settings(build_timeout=60.0, max_upload_size=7)
    assert len(caplog.records) == 4
    assert "secret" not in caplog.text


async def test_variables_are_encrypted(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The variables of the site are kept as a ciphertext, hold after the next start, and are left
    out, with what to do, where secret.key is another."""
    await at_the_start(database).change({"environment": {"TOKEN": "hunter2"}})
    kept = await database.read(store.site.settings)
    assert "hunter2" not in str(kept)
    assert "TOKEN" not in str(kept)
    assert at_the_start(database, **kept).current.environment == {"TOKEN": "hunter2"}
    other = at_the_start(database, encryption=Encryption("60" * 32), **kept)
    assert other.current.environment == {}
    assert "secret.key" in caplog.text


async def test_changes_at_once_are_those_of_the_store(database: Database) -> None:
    """Of changes made at the same time the one that the store has last is the one that holds."""
    site = at_the_start(database)
    async with trio.open_nursery() as nursery:
        for replicas in range(1, 21):
            nursery.start_soon(site.change, {"max_replicas": replicas})
    kept = await database.read(store.site.settings)
    assert kept == {"max_replicas": site.current.max_replicas}


async def test_the_description(database: Database) -> None:
    """Each setting tells its value, its default, where it is from and when a change is felt."""
    site = at_the_start(database)
    await site.change({"max_upload_size": 7})
    described = {each.name: each for each in site.described()}
    assert list(described) == list(SETTINGS)
    changeable = {name for name, setting in SETTINGS.items() if setting.changeable}
    assert {name for name, each in described.items() if each.changeable} == changeable - {
        "build_timeout"
    }
    build, upload, port = (described[n] for n in ("build_timeout", "max_upload_size", "port"))
    assert (build.value, build.default, build.source) == (60.0, 1800.0, "the environment")
    assert (upload.value, upload.source) == (7, "site settings")
    assert (port.source, port.takes_effect) == ("default", "after a restart")

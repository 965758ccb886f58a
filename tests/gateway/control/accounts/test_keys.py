"""Keys of users: how many there may be."""

from pathlib import Path

import pytest

from gateway.control.accounts.keys import NewKey
from gateway.control.accounts.sign_in import Browser
from gateway.control.accounts.users import NewUser
from gateway.errors import Refusal
from gateway.identity.grants import Principal
from store import KeyKind
from tests.support.control_stage import PASSWORD, ControlStage, opened

KINDS: tuple[KeyKind, ...] = ("api", "model")


async def test_the_keys_of_a_user_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All keys are in memory, and each is looked at when its user changes: one more is refused, of
    any kind, until one is revoked. Other users have as many."""
    monkeypatch.setattr("gateway.control.accounts.keys.MOST_KEYS", 2)
    async with opened(tmp_path, ControlStage) as stage:
        keys = stage.keys
        for name in ("Ada", "Bob"):
            user, _ = await stage.users.create(NewUser(name=name, password=PASSWORD))
            token = await stage.sign_in.sign_in(name, PASSWORD, Browser("192.0.2.1", "x"))
            session = stage.accounts.session(token)
            assert session is not None
            asks = Principal(user, "session", "192.0.2.1", session=session[0])
            made = [(await keys.create(user, NewKey(kind=k), asks))[0] for k in KINDS]
            with pytest.raises(Refusal, match="2 keys") as refused:
                await keys.create(user, NewKey(kind="legacy"), asks)
            assert refused.value.code == "state.conflict"
            await keys.revoke(user, "api", made[0].id)
            await keys.create(user, NewKey(kind="legacy"), asks)

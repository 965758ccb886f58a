"""Credentials that make others, and the error without any."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import trio

from store import as_text
from tests.gateway.conftest import Samples
from tests.support.gateway import PATIENCE, Gateway, refusal

KINDS = ("v2_keys", "model_keys", "legacy_keys")
CHALLENGE = 'Bearer realm="predictd"'


@asynccontextmanager
async def asking(gateway: Gateway, key: str) -> AsyncIterator[httpx.AsyncClient]:
    api, headers = f"{gateway.url}/api/v2", {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=api, headers=headers, timeout=PATIENCE) as client:
        yield client


def later(**span: float) -> str:
    return as_text(datetime.now(UTC) + timedelta(**span))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("administrator", [False, True])
async def test_a_key_does_not_outlive_its_maker(
    gateway: Gateway, kind: str, administrator: bool
) -> None:
    """A key made with a key that ends, for oneself or for another user, ends by then; the
    default fits itself to that, and more is refused."""
    await gateway.post("/users", {"username": "ada", "administrator": administrator})
    ends = later(hours=1)
    maker = await gateway.post("/users/ada/v2_keys", {"expiry_date": ends})
    owners = ("ada", "admin") if administrator else ("ada",)
    async with asking(gateway, maker["api_key"]) as ada:
        for owner in owners:
            for expiry in ("never", later(hours=2), "9999-12-31T23:59:59Z"):
                answer = await ada.post(f"/users/{owner}/{kind}", json={"expiry_date": expiry})
                assert refusal(answer) == (400, "argument.invalid")
                assert ends in answer.json()["message"]
            for expiry in ("", ends):
                answer = await ada.post(f"/users/{owner}/{kind}", json={"expiry_date": expiry})
                assert answer.json()["expiry_date"] == ends
            sooner = await ada.post(
                f"/users/{owner}/{kind}", json={"expiry_date": later(hours=0.5)}
            )
            assert sooner.json()["expiry_date"] < ends
        # A key that another key created creates none that lives longer.
        again = (await ada.post("/users/ada/v2_keys", json={})).json()["api_key"]
    async with asking(gateway, again) as ada:
        answer = await ada.post("/users/ada/v2_keys", json={"expiry_date": "never"})
        assert refusal(answer) == (400, "argument.invalid")


async def test_keys_without_an_end_make_such_keys(gateway: Gateway) -> None:
    """With a key that never ends one makes keys for as long as one likes."""
    await gateway.post("/users", {"username": "ada"})
    maker = await gateway.post("/users/ada/v2_keys", {"expiry_date": "never"})
    async with asking(gateway, maker["api_key"]) as ada:
        assert (await ada.post("/users/ada/v2_keys", json={})).json()["expiry_date"] > later(
            days=364
        )
        made = await ada.post("/users/ada/v2_keys", json={"expiry_date": "never"})
        assert made.json()["expiry_date"] is None


async def test_a_narrow_key_makes_none(gateway: Gateway) -> None:
    """A key for models makes no key of any kind, and only `admin.key` makes links that sign in."""
    await gateway.post("/users", {"username": "ada", "administrator": True})
    narrow = (await gateway.post("/users/ada/model_keys"))["api_key"]
    wide = (await gateway.post("/users/ada/v2_keys"))["api_key"]
    async with asking(gateway, narrow) as ada:
        for kind in KINDS:
            answer = await ada.post(f"/users/ada/{kind}", json={})
            assert refusal(answer) == (401, "auth.required")
    async with asking(gateway, wide) as ada:
        assert refusal(await ada.post("/site/links", json={})) == (403, "auth.forbidden")


async def test_a_key_that_is_revoked_meanwhile_makes_none(gateway: Gateway) -> None:
    """Of a key's revocation and the keys that it asks for at the same time, no key is left over."""
    await gateway.post("/users", {"username": "ada"})
    maker = await gateway.post("/users/ada/v2_keys", {"expiry_date": "never"})
    made: list[str] = []

    async def make() -> None:
        answer = await ada.post("/users/ada/model_keys", json={})
        if answer.status_code == 200:
            made.append(answer.json()["key_id"])
        else:
            assert refusal(answer) == (401, "auth.required")

    async with asking(gateway, maker["api_key"]) as ada, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(make)
            if number == 10:
                await gateway.delete(f"/users/ada/v2_keys/{maker['key_id']}")
    left = (await gateway.get("/users/ada/model_keys", page_size=100))["model_keys"]
    assert {key["key_id"] for key in left} == set(made)
    assert len(made) <= 11


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "10000-01-01T00:00:00Z",
        "99999999999999999999-01-01",
        "-0001-01-01T00:00:00Z",
        "2027-13-01T00:00:00Z",
        "2027-01-01T00:00:00+99:00",
        "2027-01-01T00:00:00+24:00",
        "1e400",
        "NaN",
        "Infinity",
        "\uff11\uff12\uff13\uff14",
        "\x00",
    ],
)
async def test_moments_that_there_are_not(shared: Gateway, moment: str) -> None:
    """A date that no calendar has, or that overflows, is refused by name, in bodies and queries."""
    answers = [await shared.admin.get("/audit", params={"since": moment})]
    asked = {"expiry_date": moment}
    answers += [await shared.admin.post(f"/users/admin/{kind}", json=asked) for kind in KINDS]
    for answer, field in zip(answers, ("since", *["expiry_date"] * 3), strict=True):
        assert refusal(answer) == (400, "argument.invalid")
        assert answer.json()["message"].startswith(field)


async def test_a_401_says_how_to_authenticate(shared: Gateway, samples: Samples) -> None:
    """Of the admin API, of pages and of calls of models, on whichever connection they come."""
    answers = [
        await shared.models.get("/api/v2/projects"),
        await shared.models.post("/model", json={"accessKey": "none", "request": {}}),
        await shared.models.post("/model?accessKey=none", json={"request": {}}),
        await shared.models.post("/sign-in", data={"name": "unknown", "password": "wrong"}),
        await shared.models.post("/open", data={"token": "none"}),
    ]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers.get_list("WWW-Authenticate") == [CHALLENGE]
    assert "WWW-Authenticate" not in (await shared.admin.get("/projects")).headers

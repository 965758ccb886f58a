"""Lists: what is asked of a long one costs the loop next to nothing."""

import json
import time
from typing import Any

import pytest
import trio
from quart_trio import QuartTrio

from gateway.admin.routing.paging import MAX_DEPTH, MAX_FIELDS, page
from gateway.errors import Refusal

MANY: list[dict[str, Any]] = [
    {"path": f"{n * 7919 % 100_003:06d}", "at": {"n": n % 3}} for n in range(100_000)
]


async def asked(items: list[dict[str, Any]], **query: str) -> list[Any]:
    """The entries of the page that a query asks for."""
    async with QuartTrio("lists").test_request_context("/", query_string=query):
        answer = await page("files", items)
    return [json.loads(bytes(each)) for each in answer["files"]]


@pytest.mark.parametrize("sign", ["", "+", "-"])
async def test_long_list_is_sorted_like_a_short_one(sign: str) -> None:
    """Also where it is sorted in pieces; equals stay in their order."""
    found = await asked(MANY[:5000], sort=f"{sign}at.n", page_size="1000")
    expected = sorted(MANY[:5000], key=lambda each: each["at"]["n"], reverse=sign == "-")
    assert found == expected[:1000]


async def test_long_list_does_not_block_the_loop() -> None:
    """100,000 entries, sorted and asked for as many fields as may be: 2 s of CPU once, all of it
    on the loop. It takes a thread's time now; the loop needs less than 10 ms."""
    await trio.lowlevel.checkpoint()
    fields = {f"{n}.a.b.c.d": None for n in range(MAX_FIELDS)}
    began = time.thread_time()
    found = await asked(MANY, search_filter=json.dumps(fields), sort="-path")
    assert time.thread_time() - began < 0.1
    assert [each["path"] for each in found] == sorted((e["path"] for e in MANY), reverse=True)[:10]


@pytest.mark.parametrize(
    "query",
    [
        {"search_filter": json.dumps(dict.fromkeys(map(str, range(MAX_FIELDS + 1))))},
        {"search_filter": json.dumps({"." * MAX_DEPTH: None})},
        {"sort": "." * MAX_DEPTH},
    ],
)
async def test_costly_query_is_refused(query: dict[str, str]) -> None:
    """Fields without number, or endlessly deep ones, cost 4 s where a folder was long."""
    with pytest.raises(Refusal) as refused:
        await asked(MANY[:1], **query)
    assert refused.value.code == "argument.invalid"

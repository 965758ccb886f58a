"""The API as pages call it: lists that come in several parts."""

from typing import Any

from quart_trio import QuartTrio

from gateway.web.api import Api
from gateway.web.model_deployments import current_deployment


class Lists(Api):
    """An API with one list, of which a part has two items; it knows the last 'current' item."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        super().__init__(QuartTrio(__name__))
        self._items = items

    async def get(self, path: str, **query: object) -> Any:
        if not path.endswith("/deployments"):
            return {"name": "m", "current_deployment_id": self._items[-1]["id"]}
        items = self._items
        if wanted := query.get("search_filter"):
            items = [each for each in items if f'"{each["id"]}"' in str(wanted)]
        start = int(str(query.get("page_token") or 0))
        more = str(start + 2) if start + 2 < len(items) else ""
        return {"model_deployments": items[start : start + 2], "next_page_token": more}


async def test_items_are_all_items() -> None:
    """A list that the API returns in parts is whole."""
    items = [{"id": str(number), "build_id": "b"} for number in range(5)]
    assert await Lists(items).items("/m/deployments", "model_deployments") == items
    assert await Lists(items[:2]).items("/m/deployments", "model_deployments") == items[:2]


async def test_current_deployment_of_many() -> None:
    """The current deployment is found however many there are."""
    items = [{"id": f"d{number}", "build_id": f"b{number}"} for number in range(5)]
    assert await current_deployment(Lists(items), "/m") == (items[4], "/m/builds/b4")

"""The fields of a form that a browser sends."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

import trio
from quart import request

from gateway.errors import Refusal

# Parsing a form of this size takes less than a millisecond.
FORM_LIMIT = 4 * 1024
_MOST_FIELDS = 1000


async def read_form(most: int) -> Mapping[str, str]:
    """The fields of the running request's form, which may have `most` bytes. A large one is parsed
    in a thread. Raises Refusal."""
    if most <= FORM_LIMIT:
        return await request.form
    if request.mimetype != "application/x-www-form-urlencoded":
        raise Refusal("request.media", f"{request.mimetype} is not a form")
    data = await request.get_data(cache=False)
    assert isinstance(data, bytes)
    return await trio.to_thread.run_sync(_fields, data)


def _fields(data: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(
            data.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise Refusal("argument.invalid", f"a form has at most {_MOST_FIELDS} fields") from None
    return dict(pairs)

"""JSON that is broken a little or a lot: the standard library says what it means, if anything.

The gateway reads an envelope with one decoder and a model's interpreter reads the request with
another. Where they differed, one could be shown what the other does not see.
"""

import json
from math import isinf
from typing import Any, NoReturn

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.bench import Bench
from tests.faults.conftest import Observe
from tests.faults.matrix import fault

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts | st.sampled_from(["accessKey", "request"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(texts | st.sampled_from(["accessKey", "request"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
# What decoders are known to differ about, or to stumble over.
ODDITIES = [
    *("NaN", "-Infinity", "1e999", "-1e999", "-0", "-0.0", "01", "+1", ".5", "1.", "1E5", "0x10"),
    *("9" * 400, "9" * 5000, "1." + "3" * 400, "18446744073709551616", "1e-400", "True", "nil"),
    *(r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', r'"\u00"', r'"\x41"', r'"\/"'),
    *(r'"\u0000"', '"\x00"', '"\x1f"', '"\t"', '"\x7f"', '"\u2028"', '"\xff"', "'a'", '"', "\\"),
    *("\ufeff", "\xa0", "// x\n", "/* x */", "#", ",", ",,", ":", "}", "{", "{}{}", "{1:2}"),
    *("[1,]", '{"a":1,}', '{"a":1,"a":2}', '"accessKey":"no"', '"request":1'),
    *("[" * 40, "]" * 40),
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An envelope, with something in it replaced, left out or added, here or there."""
    ascii_only = draw(st.booleans())
    request = draw(
        values.map(lambda value: json.dumps(value, ensure_ascii=ascii_only))
        | st.sampled_from(ODDITIES)
    )
    text = '{"accessKey":"KEY","request":' + request + "}"
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        until = at + draw(st.integers(0, 4))
        text = text[:at] + draw(st.sampled_from(["", *ODDITIES]) | texts) + text[until:]
    return text.encode() if draw(st.booleans()) else text.encode("latin-1", "replace")


def refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def read(body: bytes) -> Any:
    """The envelope as the standard library sees it, None if it sees none.

    Half a surrogate pair, which it lets through, is no text and refused.
    """
    try:
        told = json.loads(body.decode(), parse_constant=refuse)
        json.dumps(told, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def answered(value: Any) -> Any:
    """What comes back of a value: JSON has no word for what is infinite."""
    if isinstance(value, list):
        return [answered(each) for each in value]
    if isinstance(value, dict):
        return {key: answered(each) for key, each in value.items()}
    return None if isinstance(value, float) and isinf(value) else value


@fault(
    "JSON that decoders may differ about",
    injection="envelopes with anything replaced, left out or added (hypothesis), 400 of them",
    bound="what the standard library reads is what the model gets; what it refuses, is refused",
)
def test_json_parsers_agree(bench: Bench, observe: Observe) -> None:
    """All parsers read the same value from one JSON text."""
    model = bench.others[0]
    key = model["access_key"]
    seen: dict[str, int] = {}

    @given(body=bodies())
    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def differ(body: bytes) -> None:
        body = body.replace(b"KEY", key.encode())
        reply = bench.gateway.post(body)
        told = read(body)
        seen[str(reply.status)] = seen.get(str(reply.status), 0) + 1
        if told is None:
            assert reply.status == 400, reply
        elif told.get("accessKey") == key and "request" in told:
            assert reply.status == 200, reply
            assert repr(reply.body["response"]) == repr(answered(told["request"]))
        else:
            assert reply.status in (400, 401), reply

    with bench.unnoticed():
        differ()
    observe(", ".join(f"{count} were {status}" for status, count in sorted(seen.items())))

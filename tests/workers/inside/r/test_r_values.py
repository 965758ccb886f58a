"""How values cross: what a function of R returns, and what it gets."""

import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.workers.inside.conversation import ANSWER, PREDICT, RAISED, REFUSED, Conversation

Load = Callable[..., Conversation]

# Code of R, and the JSON of its value.
RETURNED: list[tuple[str, str]] = [
    ("NULL", "null"),
    ("TRUE", "true"),
    ("c(TRUE, NA, FALSE)", "[true,null,false]"),
    ("8L", "8"),
    ("8", "8"),
    ("0.1 + 0.2", "0.30000000000000004"),
    ("1/3", "0.33333333333333331"),
    ("0.1", "0.1"),
    ("1e5", "100000"),
    ("100000L", "100000"),
    ("123456789012345678", "1.2345678901234568e+17"),
    ("-1.5e-300", "-1.5e-300"),
    ("5e-324", "4.94065645841247e-324"),
    (".Machine$integer.max", "2147483647"),
    ("c(1, NA, NaN, Inf, -Inf)", "[1,null,null,null,null]"),
    ("NA", "null"),
    ("NA_character_", "null"),
    ("integer()", "[]"),
    ("character()", "[]"),
    ("list()", "[]"),
    ("setNames(list(), character())", "{}"),
    ("list(1, 'a', TRUE)", '[1,"a",true]'),
    ("list(a = 1, b = NULL, c = list(d = 2:3))", '{"a":1,"b":null,"c":{"d":[2,3]}}'),
    ("list(1, b = 2, b = 3)", '{"1":1,"b":2,"b.1":3}'),
    ("c(first = 1, second = 2)", "[1,2]"),
    ("c(only = 1)", "1"),
    ("I(1)", "[1]"),
    ("I(c(a = 'x'))", '["x"]'),
    ("list(a = I(list()))", '{"a":[]}'),
    ("'a\"b\\\\c\\n\\t\\001'", r'"a\"b\\c\n\t\u0001"'),
    ("'Gr\\u00f6\\u00dfe \\U0001f338'", r'"Gr\u00f6\u00dfe \ud83c\udf38"'),
    ("factor(c('b', NA, 'a'))", '["b",null,"a"]'),
    ("factor('b')", '"b"'),
    ("as.Date('2026-02-03')", '"2026-02-03"'),
    ("c(as.Date('2026-02-03'), NA)", '["2026-02-03",null]'),
    ("as.POSIXct('2026-02-03 04:05:06', tz = 'Europe/Prague')", '"2026-02-03T03:05:06Z"'),
    ("as.POSIXlt('2026-02-03 04:05:06', tz = 'UTC') + 0.25", '"2026-02-03T04:05:06.25Z"'),
    ("as.difftime(93784.5, units = 'secs')", '"P1DT2H3M4.5S"'),
    ("-as.difftime(1, units = 'hours')", '"-P0DT1H0M0S"'),
    ("numeric_version('1.2.3')", '"1.2.3"'),
    ("1+2i", '"1+2i"'),
    ("noquote('x')", '"x"'),
    ("table(c('a', 'b', 'a'))", "[2,1]"),
    ("matrix(1:6, 2)", "[[1,3,5],[2,4,6]]"),
    ("matrix(c(TRUE, NA), 1)", "[[true,null]]"),
    ("matrix(0, 2, 0)", "[[],[]]"),
    ("matrix(0, 0, 2)", "[]"),
    ("array(1:8, c(2, 2, 2))", "[[[1,5],[3,7]],[[2,6],[4,8]]]"),
    ("array(1:2, 2)", "[1,2]"),
    ("data.frame(a = 1:2, b = c('x', NA))", '[{"a":1,"b":"x"},{"a":2,"b":null}]'),
    ("data.frame(a = factor('u'), d = as.Date('2026-01-01'))", '[{"a":"u","d":"2026-01-01"}]'),
    ("mtcars[1, 1:2]", '[{"mpg":21,"cyl":6,"_row":"Mazda RX4"}]'),
    ("data.frame()", "[]"),
    ("data.frame(a = integer())", "[]"),
    ("data.frame(a = 1:2)[, FALSE]", "[{},{}]"),
    ("{d <- data.frame(a = 1:2); d$b <- list(1, 'x'); d}", '[{"a":1,"b":1},{"a":2,"b":"x"}]'),
    (
        "{d <- data.frame(a = 1); d$m <- matrix(1:2, 1); d$f <- data.frame(g = 'h'); d}",
        '[{"a":1,"m":[1,2],"f":{"g":"h"}}]',
    ),
    ("jsonlite::toJSON(list(a = 1))", '{"a":[1]}'),
    ("list(a = jsonlite::toJSON(1:2), b = 1)", '{"a":[1,2],"b":1}'),
    ("jsonlite::fromJSON('9007199254740993', bigint_as_char = TRUE)", '"9007199254740993"'),
    # The bits of 2^53 + 1 as R's package bit64 keeps them, and its NA.
    (
        "structure(readBin(as.raw(c(1,0,0,0,0,0,32,0, 0,0,0,0,0,0,0,128)), 'double', 2),"
        " class = 'integer64')",
        "[9007199254740993,null]",
    ),
    ("structure(list(a = 1), class = 'data.frame', row.names = 1L)", '[{"a":1}]'),
    ("pairlist(a = 1)", '{"a":1}'),
]


def evaluate(replica: Conversation, code: str, given: Any = None) -> Any:
    return replica.predict({"code": code, "given": given})


@pytest.mark.parametrize(("code", "text"), RETURNED, ids=[code for code, _ in RETURNED])
def test_returned_value_is_the_json_of_the_table(
    evaluator: Conversation, code: str, text: str
) -> None:
    """A value becomes the JSON that SDK.md says, byte for byte."""
    evaluator.send(PREDICT, 1, json.dumps({"code": code}).encode())
    frame = evaluator.receive_bytes()
    assert frame[4] == ANSWER, frame
    assert frame[13:].decode() == text


NOT_SAID = [
    ("as.raw(1)", "at result: a value of type 'raw'"),
    ("list(a = list(1, sum))", "at result$a[[2]]: a value of type 'builtin'"),
    ("list(`odd name` = quote(x))", "at result[[\"odd name\"]]: a value of type 'symbol'"),
    ("globalenv()", "at result: a value of type 'environment'"),
    ("lm(mpg ~ wt, mtcars)", "at result: a value of class 'lm'"),
    ("data.frame(a = 1, b = I(list(mean)))", "at result$b: a value of type 'closure'"),
    ("structure('[1', class = 'json')", "at result: text of class 'json' is not JSON"),
    ("'\\xff'", "at result: text that is not UTF-8"),
    ("{x <- 1; for (i in 1:1e5) x <- list(x); x}", "nested too deep"),
]


@pytest.mark.parametrize(("code", "words"), NOT_SAID, ids=[code for code, _ in NOT_SAID])
def test_value_without_json_is_an_error_that_says_where(
    evaluator: Conversation, code: str, words: str
) -> None:
    """A value without a JSON form is the model's error, which names its kind and its place."""
    raised = evaluate(evaluator, code)
    assert raised.kind == RAISED
    assert words in raised.body["message"]
    assert evaluate(evaluator, "1").body == 1


# JSON, and what R says of the value that a function gets.
GIVEN: list[tuple[str, str]] = [
    ("null", "NULL"),
    ("3", "3L"),
    ("3.5", "3.5"),
    ("3000000000", "3e+09"),
    ('"x"', '"x"'),
    ("true", "TRUE"),
    ("[]", "list()"),
    ("{}", "structure(list(), names = character(0))"),
    ("[1,2,3]", "1:3"),
    ("[1,2.5,null]", "c(1, 2.5, NA)"),
    ('["a",null]', 'c("a", NA)'),
    ('[1,"a",true]', 'c("1", "a", "TRUE")'),
    ("[[1,2],[3,4]]", "structure(c(1L, 3L, 2L, 4L), dim = c(2L, 2L))"),
    ('{"a":3,"b":{"c":null}}', "list(a = 3L, b = list(c = NULL))"),
    (
        '[{"a":1,"b":"x"},{"a":2}]',
        'structure(list(a = 1:2, b = c("x", NA)), class = "data.frame", row.names = 1:2)',
    ),
]


@pytest.mark.parametrize(("text", "code"), GIVEN, ids=[text for text, _ in GIVEN])
def test_argument_is_what_jsonlite_reads(evaluator: Conversation, text: str, code: str) -> None:
    """Objects are lists, arrays are vectors, matrices or data frames, as `fromJSON` has it."""
    asked = '{"code":"paste(deparse(given), collapse = \' \')","given":' + text + "}"
    evaluator.send(PREDICT, 1, asked.encode())
    assert evaluator.receive().body == code
    same = "identical(given, jsonlite::fromJSON(text)$given)".replace("text", json.dumps(asked))
    evaluator.send(PREDICT, 1, ('{"code":' + json.dumps(same) + ',"given":' + text + "}").encode())
    assert evaluator.receive().body is True


def test_doubles_cross_exactly(evaluator: Conversation) -> None:
    """A double comes back bit for bit, also where R's own reading of numbers is off by a bit."""
    chance = random.Random(7)
    bits = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(2000)]
    short = [round(chance.uniform(-1e6, 1e6), chance.randrange(8)) for _ in range(2000)]
    doubles = [each for each in [*bits, *short, 0.1 + 0.2, 5e-324, 1e308] if math.isfinite(each)]
    assert evaluate(evaluator, "given", doubles).body == doubles
    assert [evaluate(evaluator, "given", each).body for each in doubles[:50]] == doubles[:50]


def test_doubles_have_no_digit_too_many(evaluator: Conversation) -> None:
    """A double has 15 digits, or 17 where 15 do not give it back; small and large ones too."""
    chance = random.Random(11)
    scales = [(10.0 ** chance.randrange(-8, 17), chance.randrange(12)) for _ in range(900)]
    rounded = [round(chance.uniform(-1, 1) * scale, places) for scale, places in scales]
    edges = [1e14 - 0.125, 999999999999999.9, 99999.9999999999, 0.0001, 9.9999999999999999e-5]
    halves = [chance.randrange(10**12, 10**13) + 1 / 1024 for _ in range(90)]
    for given in (edges, [*rounded, *halves]):
        evaluator.send(PREDICT, 1, json.dumps({"code": "given", "given": given}).encode())
        texts = evaluator.receive_bytes()[13:].decode().strip("[]").split(",")
        assert texts == [_shortest(each) for each in given]


def _shortest(value: float) -> str:
    return text if float(text := f"{value:.15g}") == value else f"{value:.17g}"


BEYOND = "9007199254740993"  # 2^53 + 1


def test_whole_number_beyond_doubles_is_told_once(load: Load) -> None:
    """A number that may lose digits stays a number, as jsonlite has it, with one line in the log;
    digits in text and in fractions, and smaller numbers, have none."""
    replica = load("predict <- function(args) is.character(args$id)\n")
    quiet = {
        '{"id":9007199254740991,"t":[1764422000123456]}': False,
        f'{{"id":"{BEYOND}","a":0.{BEYOND}}}': True,
        f'{{"id":"a: {BEYOND},"}}': True,
    }
    for text, answer in quiet.items():
        replica.send(PREDICT, 1, text.encode())
        assert replica.receive().body is answer
    assert "2^53" not in replica.stderr
    for text in ("12345678901234567890", f"-{BEYOND} ", f"[{BEYOND},1]"):
        replica.send(PREDICT, 1, f'{{"id":{text}}}'.encode())
        assert replica.receive().body is False
    assert replica.stderr.count("a request has a whole number beyond 2^53") == 1


def test_whole_number_beyond_doubles_is_text_on_request(load: Load) -> None:
    """With the option a model gets such numbers as text, with all digits."""
    option = "options(predictd.bigint_as_char = TRUE)\n"
    replica = load(option + "predict <- function(args) args\n")
    replica.send(PREDICT, 1, f'{{"id":{BEYOND},"ids":[-{BEYOND},1],"n":3}}'.encode())
    assert replica.receive().body == {"id": BEYOND, "ids": [f"-{BEYOND}", "1"], "n": 3}
    replica.send(PREDICT, 1, BEYOND.encode())
    assert replica.receive().body == BEYOND
    assert "2^53" not in replica.stderr


@pytest.mark.parametrize(
    "value",
    [
        {"nested": [{"a": []}, {"a": {}}], "text": "Größe 🌸\n\u2028", "none": None},
        {"empty": {}, "list": [], "text": "", "zero": 0, "false": False},
        [[1, 2], [3, 4, 5]],
        [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4]}],
        "x" * 100_000,
    ],
)
def test_values_come_back_as_they_were(evaluator: Conversation, value: Any) -> None:
    """Nested, empty and long values are the same after both ways."""
    assert evaluate(evaluator, "given", value).body == value


@pytest.mark.parametrize("encoding", ["latin1", "UTF-8"])
def test_text_of_both_encodings_is_the_same(evaluator: Conversation, encoding: str) -> None:
    """Text that R keeps as latin1 leaves in UTF-8; text of requests is marked as UTF-8."""
    code = f"iconv(given, 'UTF-8', '{encoding}')"
    assert evaluate(evaluator, code, "Größe §").body == "Größe §"
    assert evaluate(evaluator, "Encoding(given)", "Größe").body == "UTF-8"
    assert evaluate(evaluator, "nchar(given)", "Größe").body == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"code":"1","given":"a\\u0000b"}', "U+0000"),
        (b"[" * 20 + b"]", "parse error"),
        (b"", "no JSON"),
    ],
)
def test_body_that_r_cannot_hold_is_refused(
    evaluator: Conversation, body: bytes, words: str
) -> None:
    """What R cannot hold is refused as the caller's fault, and the replica stays."""
    evaluator.send(PREDICT, 1, body)
    refused = evaluator.receive()
    assert refused.kind == REFUSED
    assert words in refused.body["message"]
    assert evaluate(evaluator, "given", "\\u0000").body == "\\u0000"

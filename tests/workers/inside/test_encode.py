"""What becomes of the values that functions return, in every interpreter and over the real wire.

Each value is an expression, which the model evaluates and returns. Numpy and pandas are tested by
types that look like theirs, and by the real ones in the interpreters that have them.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.inside.conversation import ANSWER, RAISED, READY, Conversation

MODEL = '''
import collections, dataclasses, datetime, decimal, enum, ipaddress, math, pathlib, types, typing
import uuid
try:
    import numpy
except ImportError:
    numpy = None
try:
    import pandas
except ImportError:
    pandas = None

Point = collections.namedtuple("Point", "x y")

class Colour(enum.Enum):
    RED = "red"

class Level(enum.IntEnum):
    LOW = 1

class Text(str, enum.Enum):
    A = "a"

@dataclasses.dataclass
class Box:
    size: typing.ClassVar[int] = 3
    content: object = None

class Foo:
    pass

class FakeScalar:
    """As numpy.int64: no number of Python's, but it can become one."""
    def __init__(self, value):
        self.value = value
    def tolist(self):
        return self.value
    def __hash__(self):
        return hash(self.value)
    def __eq__(self, other):
        return self.value == other

class FakeLongdouble:
    """As numpy.longdouble: tolist() leads nowhere."""
    def tolist(self):
        return self
    def __float__(self):
        return 0.5

class FakePydantic:
    """As pydantic.BaseModel of version 2, of which also the fields of version 1 can be asked."""
    __fields_set__ = ()
    def __init__(self, **fields):
        self.fields = fields
    def model_dump(self):
        return self.fields

class FakePydantic1:
    """As pydantic.BaseModel of version 1."""
    __fields_set__ = ()
    def dict(self):
        return {"x": Colour.RED}

class FakeAttrs:
    __attrs_attrs__ = (types.SimpleNamespace(name="x"), types.SimpleNamespace(name="y"))
    x, y, z = 1, [2], 3

class FakeStruct:
    """As msgspec.Struct, with a field of another name in JSON."""
    __struct_fields__ = ("long_name", "y")
    __struct_encode_fields__ = ("longName", "y")
    long_name, y = 1, None

class FakeFrame:
    """As pandas.DataFrame."""
    columns = ("a", "b")
    def __init__(self, *rows):
        self.rows = rows
    def to_dict(self, orient):
        assert orient == "records"
        return [dict(zip(self.columns, row)) for row in self.rows]

class NAType:
    pass

class FakeNaT(datetime.datetime):
    def __eq__(self, other):
        return False

loop = []
loop.append(loop)
boxed = Box()
boxed.content = {"self": [boxed]}

def deep(levels):
    value = None
    for _ in range(levels):
        value = [value]
    return value

def evaluate(args):
    return eval(args)
'''

SAID = [
    ("None", None),
    ("True", True),
    ("'text'", "text"),
    ("'\\ud800'", "\ud800"),
    ("8", 8),
    ("2**70", 2**70),
    ("1.5", 1.5),
    ("{}", {}),
    ("[]", []),
    ("(1, [2])", [1, [2]]),
    ("float('nan')", None),
    ("[float('inf'), -math.inf, 0.1]", [None, None, 0.1]),
    ("{'a': {'b': float('nan')}, 'c': 1}", {"a": {"b": None}, "c": 1}),
    ("{1: 'a', None: 'b', True: 'c', 2.5: 'd'}", {"1": "c", "null": "b", "2.5": "d"}),
    ("{float('nan'): 1}", {"NaN": 1}),
    ("{Colour.RED: 1, uuid.UUID(int=1): 2}", {"red": 1, str(__import__("uuid").UUID(int=1)): 2}),
    ("{datetime.date(2026, 1, 2): 1}", {"2026-01-02": 1}),
    ("{FakeScalar(7): FakeScalar(8)}", {"7": 8}),
    ("{FakeScalar('a'): float('nan')}", {"a": None}),
    ("Point(1, 2)", [1, 2]),
    ("collections.OrderedDict(a=1)", {"a": 1}),
    ("Box({'in': (1,)})", {"content": {"in": [1]}}),
    ("Box(float('nan'))", {"content": None}),
    ("[Colour.RED, Level.LOW, Text.A]", ["red", 1, "a"]),
    ("FakePydantic(x=1, y=[FakePydantic(z=math.nan)])", {"x": 1, "y": [{"z": None}]}),
    ("[FakePydantic1(), FakeAttrs()]", [{"x": "red"}, {"x": 1, "y": [2]}]),
    ("FakeStruct()", {"longName": 1, "y": None}),
    ("collections.deque([1, 2])", [1, 2]),
    ("range(3)", [0, 1, 2]),
    ("{'a': {1: 2}.values(), 'b': {1: 2}.keys()}", {"a": [2], "b": [1]}),
    ("{1: 2}.items()", [[1, 2]]),
    ("collections.ChainMap({'a': 1}, {'a': 2, 'b': 3})", {"a": 1, "b": 3}),
    ("types.MappingProxyType({'a': collections.UserList([1])})", {"a": [1]}),
    ("ipaddress.ip_address('::1')", "::1"),
    ("{ipaddress.ip_network('10.0.0.0/8'): 1}", {"10.0.0.0/8": 1}),
    ("{'x'}", ["x"]),
    ("frozenset([3])", [3]),
    ("decimal.Decimal('8')", 8),
    ("decimal.Decimal('1E+3')", 1000),
    ("decimal.Decimal('0.25')", 0.25),
    ("[decimal.Decimal('NaN'), decimal.Decimal('-Infinity')]", [None, None]),
    ("decimal.Decimal('sNaN')", None),
    ("uuid.UUID(int=0)", "00000000-0000-0000-0000-000000000000"),
    ("pathlib.Path('a/b')", "a/b"),
    ("pathlib.PureWindowsPath('c:/b')", "c:\\b"),
    ("datetime.date(2026, 11, 21)", "2026-11-21"),
    ("datetime.datetime(2026, 11, 21, 2, 50)", "2026-11-21T02:50:00"),
    (
        "datetime.datetime(2026, 11, 21, 2, 50, tzinfo=datetime.timezone.utc)",
        "2026-11-21T02:50:00+00:00",
    ),
    ("datetime.time(2, 50)", "02:50:00"),
    ("datetime.timedelta(0)", "P0DT0H0M0S"),
    ("datetime.timedelta(days=1, seconds=3725, microseconds=4500)", "P1DT1H2M5.0045S"),
    ("datetime.timedelta(hours=-1)", "-P0DT1H0M0S"),
    ("FakeScalar(8)", 8),
    ("FakeScalar([[1.5, 2], [3, float('nan')]])", [[1.5, 2], [3, None]]),
    ("[FakeLongdouble()]", [0.5]),
    ("FakeFrame((1, 'x'), (FakeScalar(2), None))", [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    ("[NAType(), FakeNaT(2026, 1, 1)]", [None, None]),
    ("[[1, 2]] * 2", [[1, 2], [1, 2]]),  # twice the same is not within itself
]

UNSAID = [
    ("Foo()", "TypeError", "at $: a value of type 'Foo' cannot be said in JSON"),
    (
        "{'a': [1, 2, 3, Foo()]}",
        "TypeError",
        "at $.a[3]: a value of type 'Foo' cannot be said in JSON",
    ),
    (
        "{'odd key': Box([Foo()])}",
        "TypeError",
        "at $[\"odd key\"].content[0]: a value of type 'Foo' cannot be said in JSON",
    ),
    ("[b'']", "TypeError", "at $[0]: a value of type 'bytes' cannot be said in JSON"),
    ("[bytearray()]", "TypeError", "at $[0]: a value of type 'bytearray' cannot be said in JSON"),
    ("FakePydantic", "TypeError", "at $: a value of type 'type' cannot be said in JSON"),
    ("Foo", "TypeError", "at $: a value of type 'type' cannot be said in JSON"),
    ("FakeFrame", "TypeError", "at $: a value of type 'type' cannot be said in JSON"),
    ("1j", "TypeError", "at $: a value of type 'complex' cannot be said in JSON"),
    (
        "(x for x in ())",
        "TypeError",
        "at $: a value of type 'generator' cannot be said in JSON",
    ),
    ("{'a': {(1, 2): 3}}", "TypeError", "at $.a: a key of type 'tuple' cannot be said in JSON"),
    ("{frozenset(): 3}", "TypeError", "at $: a key of type 'frozenset' cannot be said in JSON"),
    ("loop", "ValueError", "at $[0]: a value that holds itself cannot be said in JSON"),
    (
        "boxed",
        "ValueError",
        "at $.content.self[0]: a value that holds itself cannot be said in JSON",
    ),
    (
        "[decimal.Decimal('-1E+999999999')]",
        "TypeError",
        "at $[0]: a number of 1000000000 digits cannot be said in JSON",
    ),
    (
        "{'a': [{1: 2, '1': 3, 'not': float('nan')}]}",
        "TypeError",
        "at $.a[0]: two keys of this dict are '1' in JSON, and one would be lost",
    ),
    ("deep(100_000)", "ValueError", "the value is nested too deep to be said in JSON"),
]

NUMPY = [
    ("numpy.float64(1.5)", 1.5),
    ("numpy.float32(0.5)", 0.5),
    ("numpy.longdouble(0.5)", 0.5),
    ("numpy.array([0.5], dtype=numpy.longdouble)", [0.5]),
    ("numpy.float64('nan')", None),
    ("[numpy.int64(8), numpy.uint8(1), numpy.bool_(True), numpy.str_('x')]", [8, 1, True, "x"]),
    ("numpy.arange(4).reshape(2, 2)", [[0, 1], [2, 3]]),
    ("numpy.array([1.0, numpy.nan])", [1.0, None]),
    ("numpy.array(5)", 5),
    ("numpy.array([None, 'a', 1], dtype=object)", [None, "a", 1]),
    ("{numpy.int64(1): numpy.float32(2)}", {"1": 2.0}),
    ("numpy.datetime64('2026-11-21')", "2026-11-21"),
    ("numpy.datetime64('2026-11-21T02:50', 'ns')", "2026-11-21T02:50:00"),
    ("numpy.array(['2026-11-21', 'NaT'], dtype='M8[ns]')", ["2026-11-21T00:00:00", None]),
    ("numpy.timedelta64(90, 's')", "P0DT0H1M30S"),
    ("numpy.array([1000, 'NaT'], dtype='m8[ns]')", ["P0DT0H0M0.000001S", None]),
    ("numpy.ma.array([1, 2], mask=[0, 1])", [1, None]),
    ("numpy.timedelta64(10**10, 's')", "P115740DT17H46M40S"),
    ("numpy.timedelta64(5)", "P0DT0H0M0.000005S"),
    ("numpy.timedelta64(1, 'M')", "P30DT10H29M6S"),
]

BEYOND = ["numpy.datetime64('20000-01-01')", "numpy.array([['20000-01-01']], dtype='M8[s]')"]

PANDAS = [
    (
        "pandas.DataFrame({'a': [1, 2], 'b': [0.5, None], 'c': ['x', None]})",
        [{"a": 1, "b": 0.5, "c": "x"}, {"a": 2, "b": None, "c": None}],
    ),
    ("pandas.DataFrame([[1, 2]])", [{"0": 1, "1": 2}]),
    ("pandas.DataFrame()", []),
    ("pandas.Series([1, 2])", [1, 2]),
    ("pandas.Series([1, None], dtype='Int64')", [1, None]),
    ("pandas.Series([1, 2, 3])[lambda s: s > 1]", [2, 3]),
    ("pandas.DataFrame({'a': [2, 1]}).sort_values('a')", [{"a": 1}, {"a": 2}]),
    ("pandas.DataFrame(index=[])", []),
    ("pandas.Index(['a', 'b'])", ["a", "b"]),
    ("pandas.MultiIndex.from_tuples([(1, 'a')])", [[1, "a"]]),
    ("pandas.Categorical(['a', 'b'])", ["a", "b"]),
    ("[pandas.NA, pandas.NaT]", [None, None]),
    ("pandas.Timestamp('2026-11-21 02:50')", "2026-11-21T02:50:00"),
    ("pandas.Timedelta('1h')", "P0DT1H0M0S"),
    (
        "pandas.DataFrame({'t': pandas.to_datetime(['2026-11-21', None])})",
        [{"t": "2026-11-21T00:00:00"}, {"t": None}],
    ),
    (
        "pandas.Series(pandas.to_datetime(['2026-11-21'], utc=True)).astype('M8[ns, UTC]')",
        ["2026-11-21T00:00:00+00:00"],
    ),
    ("pandas.Series(pandas.to_timedelta(['1h', None])).astype('m8[ns]')", ["P0DT1H0M0S", None]),
]


LOST = [
    (
        "{'a': pandas.DataFrame([[1, 2]], columns=['x', 'x'])}",
        "at $.a: more than one column of this DataFrame is named 'x', and all but one would be"
        " lost: rename them",
    ),
    (
        "pandas.DataFrame([[1, 2]], columns=[1, '1'])",
        "at $: more than one column of this DataFrame is named '1', and all but one would be lost:"
        " rename them",
    ),
    (
        "pandas.DataFrame({'a': [1]}, index=['berlin'])",
        "at $: the labels of this DataFrame ('berlin', ...) would be lost: return"
        " `.reset_index()` to keep them or `.reset_index(drop=True)` to drop them",
    ),
    (
        "pandas.DataFrame({'id': [7], 'a': [1]}).set_index('id')",
        "at $: the labels of this DataFrame (7, ...) would be lost: return"
        " `.reset_index()` to keep them or `.reset_index(drop=True)` to drop them",
    ),
    (
        "[pandas.DataFrame({'a': [1], 'b': [2]}).iloc[0]]",
        "at $[0]: the labels of this Series ('a', ...) would be lost: return"
        " `.to_dict()` to keep them or `.tolist()` to drop them",
    ),
    (
        "pandas.Series([1], index=pandas.MultiIndex.from_tuples([('a', 2)]))",
        "at $: the labels of this Series (('a', 2), ...) would be lost: return"
        " `.to_dict()` to keep them or `.tolist()` to drop them",
    ),
    (
        "numpy.array([(1, 2)], dtype=[('x', int), ('y', int)])",
        "at $: the names of the fields (x, y) of this ndarray would be lost: return a dict, or"
        " `.tolist()` to drop them",
    ),
    (
        "numpy.array(['2026-11-21T00:00:00.000000001', 'NaT'], dtype='M8[ns]')",
        "at $: a time with digits beyond the microsecond would lose them: return text"
        " (`.astype(str)`), or `.astype('M8[us]')` to drop them",
    ),
    (
        "numpy.timedelta64(1, 'ns')",
        "at $: a time with digits beyond the microsecond would lose them: return text"
        " (`.astype(str)`), or `.astype('m8[us]')` to drop them",
    ),
]


@pytest.fixture(scope="session")
def evaluator(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """A replica that returns what an expression evaluates to."""
    folder = tmp_path_factory.mktemp("evaluator")
    (folder / "model.py").write_text(MODEL)
    replica = Conversation(python, folder, {})
    ready = replica.start(folder, "model.py", "evaluate")
    assert ready.kind == READY, ready
    yield replica
    replica.close()


@pytest.fixture(scope="session")
def scientist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """The evaluator in the interpreter of the tests, which has numpy and pandas."""
    folder = tmp_path_factory.mktemp("scientist")
    (folder / "model.py").write_text(MODEL)
    replica = Conversation(Path(sys.executable), folder, {})
    ready = replica.start(folder, "model.py", "evaluate")
    assert ready.kind == READY, ready
    yield replica
    replica.close()


def all_said(evaluator: Conversation, table: list[tuple[str, object]]) -> dict[str, object]:
    """What becomes of the expressions of a table."""
    return {expression: evaluator.predict(expression).body for expression, _ in table}


@pytest.mark.parametrize(("expression", "expected"), SAID)
def test_encodable_values_have_their_json(
    evaluator: Conversation, expression: str, expected: object
) -> None:
    """Each kind of value that models return has its form in JSON."""
    assert evaluator.predict(expression)[::2] == (ANSWER, expected)


@pytest.mark.parametrize(("expression", "kind", "message"), UNSAID)
def test_unencodable_value_is_named_with_its_place(
    evaluator: Conversation, expression: str, kind: str, message: str
) -> None:
    """A value without a form in JSON is an error of the model that names the value and its
    place."""
    assert evaluator.predict(expression)[::2] == (RAISED, {"type": kind, "message": message})


def test_numpy_is_encoded_as_numbers_and_lists(scientist: Conversation) -> None:
    """Scalars and arrays of numpy are encoded as Python's numbers and lists."""
    assert all_said(scientist, NUMPY) == dict(NUMPY)
    for expression in BEYOND:
        raised = scientist.predict(expression)
        assert raised.kind == RAISED, raised
        assert "a time that Python's datetime cannot hold" in raised.body["message"]


def test_pandas_is_encoded_as_records_and_lists(scientist: Conversation) -> None:
    """A frame is a list of records, a series or index a list, a missing value null."""
    assert all_said(scientist, PANDAS) == dict(PANDAS)


@pytest.mark.parametrize(("expression", "message"), LOST)
def test_lossy_encoding_is_refused(scientist: Conversation, expression: str, message: str) -> None:
    """No column, label, field or digit is dropped silently: the error names it and what to
    return."""
    assert scientist.predict(expression)[::2] == (
        RAISED,
        {"type": "TypeError", "message": message},
    )


def test_response_is_compact_ascii_json(evaluator: Conversation) -> None:
    """No NaN, no raw control character and no non-ASCII character leaves a replica; the form is
    compact."""
    evaluator.send(2, 1, json.dumps("{'größe\\n': [1, float('nan')]}").encode())
    assert evaluator.receive_bytes()[13:] == b'{"gr\\u00f6\\u00dfe\\n":[1,null]}'


def test_unencodable_value_is_released(evaluator: Conversation) -> None:
    """Nothing of an unencodable value is kept; it would leak and affect the next value."""
    remember = "globals().__setitem__('seen', __import__('weakref').ref(thing))"
    made = f"(lambda thing: ({remember}, thing))(type('Thing', (), {{}})())"
    assert evaluator.predict(made)[0] == RAISED
    assert evaluator.predict("(__import__('gc').collect() and 0, seen() is None)")[2] == [0, True]

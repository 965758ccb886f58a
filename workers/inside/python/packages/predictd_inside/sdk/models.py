"""The decorators of a model's function, and `track_metric` for its prediction.

In a replica a decorated call belongs to the current prediction, whose metrics (its `page`) are sent
with the answer. Elsewhere (a session, a script, the top level of a model's file) it is a trial: the
page goes into this process's memory, where the functions with `dev=True` find it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import weakref

from ..calling import is_async
from ..tracking import PredictionMetrics, book
from . import development, experiments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Function = Callable[..., Any]


def model_metrics(predict_func: Function) -> Function:
    """Decorator of a model's function: stores the `track_metric` values of each prediction.

        @cdsw.model_metrics
        def predict(args):
            width = model.predict([[args["petal_length"]]])[0]
            cdsw.track_metric("petal_length", args["petal_length"])
            cdsw.track_metric("width", width)
            return width

    A decorated function returns {"model_deployment_crn", "prediction", "uuid"}. "prediction" is its
    own result. With "uuid" `track_delayed_metrics` can add to this prediction later, when the truth
    is known. `read_metrics` returns the stored values.

    In a session the same happens in memory; see the functions with dev=True.
    """

    if is_async(predict_func):

        @functools.wraps(predict_func)
        async def predict(*args: Any, **kwargs: Any) -> dict[str, Any]:
            with _prediction() as page:
                return _told(page, await predict_func(*args, **kwargs))
    else:

        @functools.wraps(predict_func)
        def predict(*args: Any, **kwargs: Any) -> dict[str, Any]:
            with _prediction() as page:
                return _told(page, predict_func(*args, **kwargs))

    book.originals[predict] = predict_func
    return predict


def cml_model(*functions: Function, metrics: bool = False) -> Function:
    """Decorator of a model's function: `@cml_model` or `@cml_model(metrics=True)`.

    Bare, it leaves the function as it is. With metrics=True it is `model_metrics`.
    """
    if functions:
        (function,) = functions
        return model_metrics(function) if metrics else function
    return model_metrics if metrics else _itself


def track_metric(key: str, value: object) -> None:
    """Stores a value with the current prediction, or with the run of an experiment.

    In a function decorated by `model_metrics` or `cml_model(metrics=True)` the value may be
    any value that has a JSON form, including numpy's and pandas', and is stored with that
    prediction. A second value of the same key replaces the first.

    In an experiment's script it must be a single value: text, a number, True, False or None.

    Elsewhere this does nothing.

    Raises TypeError or ValueError for a key that is not a str, and for an unfit value.
    """
    page = (book.page if book.asked else None) or _trial.get()
    if page is not None:
        page.track(key, value)
    elif experiments.is_run():
        experiments.track_metric(key, value)


# The page of the decorated call that is a trial in this thread or task.
_trial: contextvars.ContextVar[PredictionMetrics | None] = contextvars.ContextVar(
    "_trial", default=None
)
# Weak, so that a function that is decorated for a short time is not kept for ever.
book.originals = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def _prediction() -> Iterator[PredictionMetrics]:
    """The page of a decorated call; it is kept when the outermost call has returned."""
    page = _open()
    try:
        yield page
    except BaseException:
        _close(page, failed=True)
        raise
    _close(page)


def _told(page: PredictionMetrics, prediction: object) -> dict[str, Any]:
    crn = book.crns["deployment"] if book.serves else development.dev_model_deployment_crn
    return {"model_deployment_crn": crn, "prediction": prediction, "uuid": page.uuid}


def _open() -> PredictionMetrics:
    if book.asked:
        if book.page is None:
            book.page = PredictionMetrics()
        return book.page.enter()
    page = _trial.get()
    if page is None:
        page = PredictionMetrics()
        _trial.set(page)
    return page.enter()


def _close(page: PredictionMetrics, *, failed: bool = False) -> None:
    if not page.leave() or page is not _trial.get():
        return
    _trial.set(None)
    # A trial in a model's own file is not a session.
    if not failed and not book.serves:
        development.keep(page)


def _itself(function: Function) -> Function:
    return function

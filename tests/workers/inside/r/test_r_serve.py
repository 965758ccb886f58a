"""The life of a replica of R: what is an answer, what ends it, and what it prints where."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.inside.conversation import (
    ANSWER,
    CRNS,
    FAILED,
    PREDICT,
    RAISED,
    READY,
    REFUSED,
    REQUEST_PREFIX,
    TRACKED,
    Conversation,
)
from tests.workers.inside.r.conftest import Converse

Load = Callable[..., Conversation]

ERRORS = """
library(cdsw)
custom <- function(text, ...) structure(class = c(...), list(message = text, call = sys.call(-1)))
deep <- function(n) deep(n + 1)
inner <- function(text) stop(text)
predict <- function(args) switch(args$do,
    stop = inner("as told"),
    condition = stop(custom("a condition", "odd", "condition")),
    error = stop(custom("an error", "MyError", "error", "condition")),
    two = stop("two ", "parts ", 2),
    warning = { warning("take care"); "warned" },
    strict = { options(warn = 2); on.exit(options(warn = 1)); as.integer("x") },
    caught = tryCatch(stop("inside"), error = function(e) conditionMessage(e)),
    tried = { try(stop("tried"), silent = TRUE); "went on" },
    signalled = { signalCondition(custom("no one", "odd", "condition")); "went on" },
    deep = deep(1),
    invalid = invalid_request("the caller's"),
    message = { message("to the log"); cat("cat\\n"); print(1:2); NULL },
    unfinished = { cat("no end"); NULL },
    sunk = { sink("sunk.txt"); stop("as told") },
    echo = args$value
)
"""


@pytest.mark.parametrize(
    ("deed", "type_", "message"),
    [
        ("stop", "simpleError", "as told"),
        ("error", "MyError", "an error"),
        ("two", "simpleError", "two parts 2"),
        ("strict", "simpleError", "(converted from warning) NAs introduced by coercion"),
        ("sunk", "simpleError", "as told"),
    ],
)
def test_error_is_the_answer(load: Load, deed: str, type_: str, message: str) -> None:
    """An error is RAISED with its class and text, and the replica still serves."""
    replica = load(ERRORS)
    raised = replica.predict({"do": deed}, 7)
    assert (raised.kind, raised.body) == (RAISED, {"type": type_, "message": message})
    assert replica.predict({"do": "echo", "value": 3}).body == 3


def test_function_with_the_fields_as_arguments_is_told_what_it_gets(load: Load) -> None:
    """A function that takes the fields of a request one by one, as in plumber, is told how it is
    called; an argument that another function lacks is left as it is."""
    source = "other <- function(b) b + 1\nadd <- function(a, b) if (a$do == 'own') b else other()\n"
    replica = load(source, "add")
    missing = 'argument "b" is missing, with no default'
    told = " (the function is called with one argument, the request: take 'b' from it)"
    assert replica.predict({"do": "own"}).body["message"] == missing + told
    assert f"Error in add(args) : {missing}{told}" in replica.stderr


def test_error_that_no_handler_sees_ends_the_process(load: Load) -> None:
    """stop() with a condition that is no error is RAISED, and ends R as in any script."""
    replica = load(ERRORS)
    raised = replica.predict({"do": "condition"})
    assert (raised.kind, raised.body["message"]) == (RAISED, "a condition")
    assert replica.exit_status() == 1


@pytest.mark.parametrize(
    ("deed", "answer"),
    [
        ("warning", "warned"),
        ("caught", "inside"),
        ("tried", "went on"),
        ("signalled", "went on"),
    ],
)
def test_condition_that_is_no_error_is_no_answer(load: Load, deed: str, answer: str) -> None:
    """Warnings, and errors that the model handles, change nothing about the answer."""
    frame = load(ERRORS).predict({"do": deed})
    assert (frame.kind, frame.body) == (ANSWER, answer)


def test_endless_recursion_is_an_error(load: Load) -> None:
    """A stack that overflows is an error of the model, and the replica still serves."""
    replica = load(ERRORS)
    assert replica.predict({"do": "deep"}).kind == RAISED
    assert replica.predict({"do": "echo", "value": 3}).body == 3


def test_request_that_the_caller_has_to_correct_is_refused(load: Load) -> None:
    """invalid_request() is REFUSED with its text and without a traceback."""
    replica = load(ERRORS)
    refused = replica.predict({"do": "invalid"})
    assert (refused.kind, refused.body) == (REFUSED, {"message": "the caller's"})
    assert "[predictd]" not in replica.stderr


def test_log_has_the_traceback_under_the_id_of_the_request(load: Load) -> None:
    """The traceback is on stderr: the calls of the model alone, with lines of its file."""
    replica = load(ERRORS)
    replica.predict({"do": "stop"}, 0xABC)
    about = f"[predictd] request {REQUEST_PREFIX}{0xABC:012x} failed, 4 lines:\n"
    assert replica.stderr == (
        about + 'Error in inner("as told") : as told\n'
        "   3: stop(text) at model.R#5\n"
        '   2: inner("as told") at model.R#6\n'
        "   1: predict(args)\n"
    )


def test_warning_is_printed_as_it_happens(load: Load) -> None:
    """A warning is on stderr before the answer, not kept for a prompt that never comes."""
    replica = load(ERRORS)
    replica.predict({"do": "warning"})
    assert "take care" in replica.stderr


def test_each_stream_is_where_it_belongs(load: Load) -> None:
    """print and cat go to stdout, message() to stderr, an unfinished line before the answer."""
    replica = load(ERRORS)
    replica.predict({"do": "message"})
    assert replica.stderr == "to the log\n"
    assert replica.stdout.endswith("Model ready\ncat\n[1] 1 2\n")
    replica.predict({"do": "unfinished"})
    assert replica.stdout.endswith("no end")


ENDS = """
.Last <- function() cat("last\\n")
reg.finalizer(globalenv(), function(each) cat("finalized\\n"), onexit = TRUE)
predict <- function(args) {
    on.exit(cat("on exit\\n"))
    switch(args,
        quit = quit("no", 3),
        abort = invokeRestart("abort"),
        interrupt = { tools::pskill(Sys.getpid(), 2L); Sys.sleep(60) },
        term = { tools::pskill(Sys.getpid(), 15L); Sys.sleep(60) },
        error = stop("as told"),
        args)
}
"""


@pytest.mark.parametrize(
    ("deed", "status"),
    [("quit", 3), ("abort", 1), ("interrupt", 1), ("term", -signal.SIGTERM)],
)
def test_end_of_the_process_is_no_answer(load: Load, deed: str, status: int) -> None:
    """quit(), the restart "abort", interrupts and signals end the process without an answer."""
    replica = load(ENDS)
    replica.send(PREDICT, 1, json.dumps(deed).encode())
    assert replica.at_end()
    assert replica.exit_status() == status


def test_closed_pipe_ends_as_quit_does(load: Load) -> None:
    """At the end `.Last` and the finalizers for the exit run; on.exit ran with its function."""
    replica = load(ENDS)
    assert replica.predict("error").kind == RAISED
    replica.hang_up()
    assert replica.exit_status() == 0
    assert replica.stdout.endswith("on exit\nlast\nfinalized\n")


FAILING = [
    ("stop('as told')\n", "simpleError", "as told", 'stop("as told") at model.R#1'),
    ("x <- 1\ny <- (\n", "simpleError", "unexpected end of input", "model.R"),
    ("library(not.installed)\n", "packageNotFoundError", "not.installed", "model.R#1"),
    ("quit('no', 0)\n", "quit", "quit() does", "quit()"),
    ("other <- function(args) 1\n", "simpleError", "the functions it defines: other", "Error"),
    ("predict <- 3\n", "simpleError", "no function but of class 'numeric'", "Error"),
    ("predict <- function() 3\n", "simpleError", "takes no argument", "Error"),
]


@pytest.mark.parametrize(("source", "type_", "message", "trace"), FAILING)
def test_failed_load_says_why(
    converse: Converse, tmp_path: Path, source: str, type_: str, message: str, trace: str
) -> None:
    """FAILED has class, text and the author's traceback, which the log has too."""
    (tmp_path / "model.R").write_text(source)
    replica = converse()
    failed = replica.start(tmp_path, "model.R", "predict")
    assert failed.kind == FAILED
    assert failed.body["type"] == type_
    assert message in failed.body["message"]
    assert trace in failed.body["traceback"]
    assert "predictd.inside" not in failed.body["traceback"]
    assert replica.exit_status() == (0 if type_ == "quit" else 1)
    assert type_ == "quit" or replica.stderr == failed.body["traceback"]


def test_file_runs_from_its_folder_in_the_global_environment(
    converse: Converse, tmp_path: Path
) -> None:
    """The file reads its own files, sources others, and is asked for no profile but its own."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "more.R").write_text("more <- function() scale\n")
    (tmp_path / ".Rprofile").write_text("scale <- 10\n")
    (tmp_path / "my model.R").write_text(
        "source('src/more.R')\nkept <- readLines('my model.R')[[1]]\n"
        "predict <- function(args) list(more(), kept, exists('kept', globalenv()))\n"
    )
    replica = converse()
    assert replica.start(tmp_path, "my model.R", "predict").kind == READY
    assert replica.predict(None).body == [10, "source('src/more.R')", True]


def test_libraries_of_the_project_do_not_hide_ours(converse: Converse, tmp_path: Path) -> None:
    """The library of the build comes first and `cml` is found, also where `.Renviron` names other
    libraries."""
    (tmp_path / ".Renviron").write_text("R_LIBS_USER=/nowhere\nR_LIBS=/also/nowhere\n")
    (tmp_path / "build" / "library").mkdir(parents=True)
    (tmp_path / "model.R").write_text("library(cml)\npredict <- function(args) .libPaths()[[1]]\n")
    replica = converse(HOME=str(tmp_path), VIRTUAL_ENV=str(tmp_path / "build"))
    assert replica.start(tmp_path, "model.R", "predict").kind == READY
    assert replica.predict(None).body == str(tmp_path / "build" / "library")


def test_forked_workers_compute_for_the_function(load: Load) -> None:
    """parallel::mclapply, which forks, works in a function."""
    squares = "unlist(parallel::mclapply(args, function(n) n^2, mc.cores = 2))"
    replica = load(f"predict <- function(args) {squares}\n")
    for _ in range(3):
        assert replica.predict([1, 2, 3, 4]).body == [1, 4, 9, 16]


def test_refused_port_has_a_hint(load: Load) -> None:
    """The error of a cluster of sockets, which needs a port by number, says what allows it."""
    failed = "creation of server socket failed: port 11157 cannot be opened"
    raised = load(f"predict <- function(args) stop('{failed}')").predict(None)
    assert raised.body["message"].startswith(f"{failed} (it may listen on TCP ports by `--network")


def test_file_in_latin1_is_read(load: Load) -> None:
    """A file that is not UTF-8 is read as latin1, and one in UTF-8 as that."""
    source = 'predict <- function(args) c("Größe", nchar("Größe"))\n'
    assert load(source.encode("latin1")).predict(None).body == ["Größe", "5"]
    assert load(source).predict(None).body == ["Größe", "5"]


def test_raw_request_is_bytes(converse: Converse, tmp_path: Path) -> None:
    """With `raw` the function gets the request as it came."""
    (tmp_path / "model.R").write_text("predict <- function(args) c(class(args), rawToChar(args))")
    replica = converse()
    assert replica.start(tmp_path, "model.R", "predict", raw=True).kind == READY
    replica.send(PREDICT, 1, b'{"a": 1}')
    assert replica.receive().body == ["raw", '{"a": 1}']


def test_too_large_answer_is_an_error(converse: Converse, tmp_path: Path) -> None:
    """An answer above the limit is the model's error and names both sizes."""
    (tmp_path / "model.R").write_text("predict <- function(args) strrep('x', args)")
    replica = converse()
    replica.start(tmp_path, "model.R", "predict", 1000)
    assert replica.predict(998).kind == ANSWER
    raised = replica.predict(999)
    assert raised.kind == RAISED
    assert (
        raised.body["message"] == "the answer is 1001 bytes long as JSON; at most 1000 are allowed"
    )


def test_message_of_a_failure_is_bounded(badly: Conversation) -> None:
    """A message of a megabyte is cut."""
    raised = badly.predict({"do": "raise", "text": "x" * 1_000_000})
    assert raised.body["message"] == "x" * 8000 + "... (1000000 characters)"


@pytest.mark.parametrize("options", ["OutDec = ','", "digits = 3, scipen = 99", "warn = 2"])
def test_options_of_the_model_do_not_change_answers(load: Load, options: str) -> None:
    """Options by which R prints numbers change no number of an answer."""
    replica = load(f"options({options})\npredict <- function(args) args\n")
    assert replica.predict([0.1234567, 1e-7, 123456789.5]).body == [0.1234567, 1e-7, 123456789.5]
    assert replica.predict({"a": None, "b": [1, None]}).body == {"a": None, "b": [1, None]}


METRICS = """
library(cml)
track_metric("lost", 1)  # at top level: no prediction
predict <- cml_model(metrics = TRUE)(function(args) {
    track_metric("input", args)
    cdsw::track.metric("size", length(args))
    track_metric("size", 2L)
    if (identical(args, "bad")) stop("as told")
    if (identical(args, "odd")) track_metric("raw", as.raw(1))
    args
})
trial <- predict(1)
"""


def test_metrics_go_with_the_answer(load: Load) -> None:
    """What a prediction tracks is sent right before its answer, under its uuid."""
    replica = load(METRICS)
    for number, value in enumerate([4.5, "Größe", [1, 2]]):
        before = time.time() * 1000
        tracked, answer = replica.predict(value, number), replica.receive()
        assert (tracked.kind, tracked.id, answer.kind, answer.id) == (
            TRACKED,
            number,
            ANSWER,
            number,
        )
        row: dict[str, Any] = tracked.body
        assert row["metrics"] == {"input": value, "size": 2}
        assert before - 1 <= row["startTimeStampMs"] <= row["endTimeStampMs"]
        assert answer.body == {
            "model_deployment_crn": CRNS["deployment"],
            "prediction": value,
            "uuid": row["predictionUuid"],
        }
        assert row["predictionUuid"][14] == "7"


def test_failed_prediction_tracks_nothing(load: Load) -> None:
    """A failed prediction has no metrics, nor has the next one what it tracked."""
    replica = load(METRICS)
    assert replica.predict("bad").kind == RAISED
    raised = replica.predict("odd")
    assert raised.kind == RAISED
    assert "track_metric(\"raw\"): at result: a value of type 'raw'" in raised.body["message"]
    assert replica.predict(1).body["metrics"] == {"input": 1, "size": 2}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("for (i in 1:1001) track_metric(paste(i), i)", "may have 1000 keys"),
        ("track_metric('a', strrep('x', 3e5))", "may be 260000 bytes long"),
        ("track_metric(1, 1)", "the key is no text"),
        ("x <- 1; for (i in 1:600) x <- list(x); track_metric('a', x)", "nested too deep"),
    ],
)
def test_metric_that_does_not_fit_is_an_error(load: Load, code: str, words: str) -> None:
    """What the gateway would not keep is an error on that very line."""
    source = f"library(cml)\npredict <- cml_model(function(args) {{ {code} }}, metrics = TRUE)\n"
    raised = load(source).predict(None)
    assert raised.kind == RAISED
    assert words in raised.body["message"]


def test_plain_model_tracks_nothing(load: Load) -> None:
    """`cml_model(function(args) ...)` leaves the function as it is."""
    source = "predict <- cml::cml_model(function(args) { cml::track_metric('a', 1); args$x * 2 })"
    answer = load(source).predict({"x": 21})
    assert (answer.kind, answer.body) == (ANSWER, 42)


def test_temporary_files_are_where_tmpdir_says(load: Load) -> None:
    """R makes its folder of temporary files there, which a killed replica leaves."""
    replica = load("predict <- function(args) tempdir()")
    assert Path(replica.predict({}).body).is_relative_to(replica.temporary)

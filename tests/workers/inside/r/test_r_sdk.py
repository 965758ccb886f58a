"""`cdsw` and `cml` in R outside of models: found without installation, in sessions, runs, calls."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.inside.played_gateway import Played
from tests.workers.inside.r.conftest import R_INSIDE

PACKAGES = R_INSIDE / "packages"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(r_program: Path, tmp_path: Path) -> Run:
    """`run(source, NAME=value...)` runs a script in an R that was shown our packages."""

    def run(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "script.R").write_text(source)
        return subprocess.run(
            [r_program.with_name("Rscript"), "script.R"],
            cwd=tmp_path,
            env={
                "PATH": "/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "R_LIBS_USER": str(PACKAGES),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def told(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a script printed last."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SAY = "say <- function(x) cat(jsonlite::toJSON(x, auto_unbox = TRUE, digits = 17), '\\n')\n"


@pytest.mark.parametrize("package", ["cdsw", "cml"])
def test_package_is_one_that_r_has(run: Run, package: str) -> None:
    """R lists, loads and attaches the packages as installed ones, without a word."""
    source = f"""
    stopifnot('{package}' %in% rownames(installed.packages(Sys.getenv('R_LIBS_USER'))))
    stopifnot(require({package}), requireNamespace('{package}'))
    stopifnot(is.function({package}::track.metric), is.function(cml_model), is.function(html))
    stopifnot(packageVersion('{package}') >= '1.0')
    """
    done = run(f"library(cdsw)\nlibrary(cml)\n{source}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_seal_of_the_packages_is_what_r_would_write(run: Run) -> None:
    """`Meta/package.rds` says what DESCRIPTION does, in a form that every R from 4.0 on reads."""
    source = """
    for (name in c('predictd.inside', 'cdsw', 'cml')) {
        folder <- file.path(Sys.getenv('R_LIBS_USER'), name)
        kept <- readRDS(file.path(folder, 'Meta', 'package.rds'))
        stopifnot(identical(kept$DESCRIPTION, read.dcf(file.path(folder, 'DESCRIPTION'))[1, ]))
        stopifnot(kept$Built$R == '4.0.0')
    }
    """
    assert run(source).returncode == 0
    for name in ("predictd.inside", "cdsw", "cml"):
        assert (PACKAGES / name / "Meta" / "package.rds").read_bytes().startswith(b"A\n2\n")


DEVELOPMENT = """
library(cml)
began <- floor(as.numeric(Sys.time()) * 1000)
predict <- cml_model(metrics = TRUE)(function(args) {
    if (is.null(args)) stop("as told")
    track_metric("input", args)
    args * 2
})
plain <- cml_model(function(args) { track_metric("lost", args); args })
track_metric("lost", 1)
cdsw::track.file("absent")
answers <- lapply(1:3, predict)
stopifnot(answers[[2]]$prediction == 4)
stopifnot(answers[[1]]$model_deployment_crn == dev_model_deployment_crn)
try(predict(NULL), silent = TRUE)
stopifnot(plain(4) == 4)
for (answer in answers)
    track_delayed_metrics(list(truth = 0.5, input = "new"), answer$uuid, dev = TRUE)
ended <- floor(as.numeric(Sys.time()) * 1000)
track_aggregate_metrics(list(accuracy = 0.5), began, ended, dev_model_deploy_crn, dev = TRUE)
rows <- read_metrics(model_crn = dev_model_crn, dev = TRUE)$metrics
window <- list(start_timestamp_ms = began, end_timestamp_ms = ended, dev = TRUE)
stopifnot(identical(rows, do.call(read_metrics, c(dev_model_deployment_crn, window))$metrics))
earlier <- read_metrics(model_crn = dev_model_crn, end_timestamp_ms = began - 1, dev = TRUE)
stopifnot(!length(earlier$metrics))
stopifnot(!length(read_metrics(model_crn = "another", dev = TRUE)$metrics))
say(list(sapply(answers, function(each) each$uuid), rows))
"""


def test_session_keeps_metrics_in_memory(run: Run) -> None:
    """In a session wrapped calls become rows like the gateway's: joined by what comes later, beside
    aggregates, in windows with both ends."""
    uuids, rows = told(run(SAY + DEVELOPMENT))
    predictions = [row for row in rows if row["predictionUuid"]]
    assert [row["predictionUuid"] for row in predictions] == uuids
    assert all(row["metrics"] == {"input": "new", "truth": 0.5} for row in predictions)
    [aggregate] = [row for row in rows if not row["predictionUuid"]]
    assert aggregate["metrics"] == {"accuracy": 0.5}
    assert aggregate["modelBuildCrn"] == "crn:cdp:ml:::workspace:dev/model-build"


MISTAKES = """
library(cdsw)
said <- function(code) tryCatch({ code; "nothing" }, error = conditionMessage)
say(c(
    said(read_metrics()),
    said(read_metrics("crn")),
    said(track_delayed_metrics(list(a = 1), "unknown", dev = TRUE)),
    said(track_delayed_metrics(1, "uuid")),
    said(track_aggregate_metrics(list(a = as.raw(1)))),
    said(track_aggregate_metrics(list(a = 1), 2, 1)),
    said(track_aggregate_metrics(list(a = 1))),
    said(get_auth()),
    said(launch.workers(2))
))
"""


def test_mistake_stops_with_its_reason(run: Run) -> None:
    """Each mistake stops with a text that names the function and the problem."""
    begins = [
        "read_metrics: give one of model_deployment_crn, model_build_crn, model_crn",
        "CDSW_API_URL is not set: ",
        "no prediction of this session has the uuid 'unknown'",
        "track_delayed_metrics: metrics are no list with names",
        "track_aggregate_metrics: at result$a: a value of type 'raw'",
        "track_aggregate_metrics: the window begins at 2, after 1",
        "track_aggregate_metrics: give model_deployment_crn, or dev = TRUE",
        "get_auth: CDSW_API_KEY is not set",
        "predictd starts no workers",
    ]
    for text, start in zip(told(run(SAY + MISTAKES)), begins, strict=True):
        assert text.startswith(start)


CALLS = """
library(cml)
said <- list(
    call_model("mkey", list(a = 0.5)),
    call_model("mkey", I(1), api_key = " another "),
    read_metrics("crn:d/1", 1, 2.5, model_crn = "crn:m/1"),
    track_delayed_metrics(list(truth = 0.5), "uuid"),
    track_aggregate_metrics(list(r2 = 1), 5, 6, "crn:d/1")
)
for (each in 1:3)
    said <- c(said, tryCatch(call_model("mkey", 1), error = conditionMessage))
say(said)
"""


def test_function_is_one_request(run: Run, played: Played) -> None:
    """Each function is one request with the environment's key (one for each page when reading); a
    refusal stops with the gateway's message."""
    refused = {"errors": {"code": "model.busy", "message": "x"}, "message": "x", "StatusCode": 429}
    unknown = {"error": "no", "code": 5, "message": "no such thing", "details": []}
    rows = [[{"modelDeploymentCrn": "crn:d/1", "modelCrn": "crn:m/1"}, {}], [{"modelCrn": "b"}]]
    played.answers = [
        (200, b'{"success":true,"response":1}'),
        (200, b"{}"),
        (200, json.dumps({"metrics": rows[0], "next_page_token": "n"}).encode()),
        (200, json.dumps({"metrics": rows[1], "next_page_token": ""}).encode()),
        (200, b"{}"),
        (200, b"{}"),
        (429, json.dumps(refused).encode()),
        (404, json.dumps(unknown).encode()),
        (502, b"<html>\xff"),
    ]
    url = played.url.replace("127.0.0.1", "modelservice.localhost")
    said = told(run(SAY + CALLS, CDSW_API_URL=url, CDSW_APIV2_KEY="k"))
    window = "model_deployment_crn=crn%3Ad%2F1&start_timestamp_ms=1&end_timestamp_ms=2"
    metrics = f"/api/v2/metrics?{window}&page_size=10000"
    aggregate = {
        "metrics": {"r2": 1},
        "start_timestamp_ms": 5,
        "end_timestamp_ms": 6,
        "model_deployment_crn": "crn:d/1",
    }
    delayed = {"prediction_uuid": "uuid", "metrics": {"truth": 0.5}}
    assert played.asked[:6] == [
        ("POST", "/model", "Bearer k", {"accessKey": "mkey", "request": {"a": 0.5}}),
        ("POST", "/model", "Bearer another", {"accessKey": "mkey", "request": [1]}),
        ("GET", metrics, "Bearer k", None),
        ("GET", f"{metrics}&page_token=n", "Bearer k", None),
        ("POST", "/api/v2/metrics/delayed", "Bearer k", delayed),
        ("POST", "/api/v2/metrics/aggregate", "Bearer k", aggregate),
    ]
    assert said[0] == {"success": True, "response": 1}
    assert said[2] == {"metrics": rows[0][:1]}
    assert said[5:] == ["HTTP 429 model.busy: x", "HTTP 404: no such thing", "HTTP 502: <html><ff>"]


def test_chunked_answer_is_read(run: Run) -> None:
    """An answer in chunks is put together."""
    source = r"""
    inside <- asNamespace("cdsw")$.inside
    head <- "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks <- "5;x\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    reply <- inside$.read_reply(charToRaw(paste0(head, chunks)))
    say(list(reply$status, rawToChar(reply$body)))
    """
    assert told(run(SAY + source)) == [200, "hello!"]


def test_run_keeps_metrics_and_files(run: Run, tmp_path: Path) -> None:
    """In an experiment each metric is a line, and files are copied under their names."""
    (tmp_path / "out").mkdir()
    source = """
    cdsw::track.metric("r2", 0.5); cml::track_metric("größe", "µ"); cml::track_metric("ok", TRUE)
    dir.create("plots"); writeLines("x", "plots/a.txt")
    cml::track_file("plots/a.txt"); cdsw::track.file("plots")
    say(tryCatch(cml::track_metric("many", 1:2), error = conditionMessage))
    """
    before = time.time() * 1000 - 1
    variables = {
        "PREDICTD_RUN_METRICS": str(tmp_path / "metrics"),
        "CDSW_OUTPUT_DIR": str(tmp_path / "out"),
    }
    assert "in an experiment it must be text, a number" in told(run(SAY + source, **variables))
    lines = [json.loads(line) for line in (tmp_path / "metrics").read_text().splitlines()]
    assert [(line["key"], line["value"]) for line in lines] == [
        ("r2", 0.5),
        ("größe", "µ"),
        ("ok", True),
    ]
    assert all(line["time"] >= before for line in lines)
    assert (tmp_path / "out" / "plots" / "a.txt").read_text() == "x\n"

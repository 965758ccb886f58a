"""`python -m benchmarks VERB`: runs benchmarks, and says what they found."""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks import machine
from benchmarks.gateway_process import SetupFailed
from benchmarks.load import closed
from benchmarks.load.python import LoadFailed
from benchmarks.plan import Plan, default_cache, quick
from benchmarks.report import gate, page
from benchmarks.report.record import Report, Section
from benchmarks.report.text import text
from benchmarks.suites import (
    build,
    fairness,
    keys,
    metrics,
    neighbours,
    open_pages,
    overload,
    pages,
    payload,
    peers,
    predict,
    queue,
    r,
    scale,
    start,
    store,
)

Run = Callable[[Plan], Section]

VERBS: dict[str, tuple[Run, str]] = {
    "predict": (predict.run, "one prediction against the floors, and under a rate"),
    "peers": (peers.run, "the same function behind other servers"),
    "overload": (overload.run, "twice what the model can do"),
    "fairness": (fairness.run, "what others notice of one caller's crowd"),
    "neighbours": (
        neighbours.run,
        "another model's followers, deaths and forks, and one who notices",
    ),
    "scale": (scale.run, "200 models and 1,000 idle connections"),
    "start": (start.run, "from the command to the first right answer; memory"),
    "build": (
        build.run,
        "from a folder to the first right answer; the Iris template after each kind of change",
    ),
    "pages": (pages.run, "each page of a site with 200 models and 10,000 builds"),
    "open-pages": (open_pages.run, "200 open pages that move, and one who calls a model"),
    "payload": (payload.run, "requests and replies from 1 KB to 5 MB"),
    "metrics": (metrics.run, "what it costs to be tracked, and what is read back"),
    "queue": (queue.run, "one request's way through the fair queue"),
    "keys": (keys.run, "what a caller's key costs, and what a refusal tells"),
    "r": (r.run, "a function of R, against plumber and the floors"),
    "store": (store.run, "one transaction through the bridge"),
}
ALL = "all"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "verb", choices=[*VERBS, ALL], metavar="VERB", help=", ".join([*VERBS, ALL])
    )
    parser.add_argument("--quick", action="store_true", help="short and rough")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="where peers stay installed"
    )
    parser.add_argument(
        "--compare", type=Path, metavar="BASELINE", help="fail where ratios to the floor got worse"
    )
    parser.add_argument(
        "--tolerance", type=float, default=gate.TOLERANCE, help="by more than this share (0.25)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if a benchmark failed or `--compare` found a regression; 2 for a usage error."""
    parser = make_parser()
    typed = list(sys.argv[1:] if arguments is None else arguments)
    asked = parser.parse_args(typed)
    if asked.compare and asked.verb != "predict":
        parser.error("--compare is for predict")
    kept = _kept(parser, asked.compare) if asked.compare else None
    plan = Plan(cache=asked.cache)
    report = _run(
        VERBS if asked.verb == ALL else [asked.verb], quick(plan) if asked.quick else plan
    )
    report.command = machine.command(typed)
    comparisons = gate.compare(kept, report, asked.tolerance) if kept else []
    if comparisons:
        report.sections[-1].tables.append(gate.table(comparisons))
    if asked.html:
        asked.html.write_text(page.page(report))
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    else:
        print(text(report), end="")
    failed = any(section.failure for section in report.sections)
    return int(failed or any(comparison.worse for comparison in comparisons))


def _kept(parser: argparse.ArgumentParser, baseline: Path) -> Report:
    """Reads the baseline before any benchmark runs: an unusable one should not cost a run."""
    try:
        return gate.read(baseline, closed.generator())
    except gate.GateUnusable as unusable:
        parser.error(str(unusable))


def _run(verbs: Iterable[str], plan: Plan) -> Report:
    report = Report(caveats=[], machine=machine.facts(), quick=plan.quick, sections=[])
    began, neighbours = time.monotonic(), machine.Neighbours()
    for verb in verbs:
        report.sections.append(_section(verb, plan))
    share = neighbours.share()
    report.seconds = round(time.monotonic() - began, 1)
    report.machine["other work meanwhile"] = f"{100 * share:.0f} % of all cores' time"
    report.caveats = machine.caveats(quick=plan.quick, neighbours=share)
    return report


def _section(verb: str, plan: Plan) -> Section:
    """The results of a verb, or its failure: the results of other verbs must not be lost."""
    run, title = VERBS[verb]
    try:
        return run(plan)
    except (LoadFailed, SetupFailed) as error:
        return Section(verb=verb, title=title, failure=str(error))
    except Exception as error:
        traceback.print_exc()
        return Section(verb=verb, title=title, failure=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())

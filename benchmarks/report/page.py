"""page"""

from benchmarks.report.record import Report


def page(report: Report) -> str:
    return ""

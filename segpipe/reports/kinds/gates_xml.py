"""gates.xml: the gates as test cases in the JUnit form that CI systems read."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from segpipe.metrics.gates import GateReport, told
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import encodable


@REPORTS.register("gates.xml")
def write(given: ReportInput, path: Path) -> None:
    """Write one test case for each limit of a gate; one that does not hold is a failure with its reason."""
    report = given.gates or GateReport(given.summary.coverage, ())
    name = f"{given.summary.suite}.{given.summary.model}"
    numbers = {"tests": str(len(report.verdicts)), "failures": str(len(report.failed)), "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": "segpipe gates", **numbers})
    suite = ElementTree.SubElement(root, "testsuite", {"name": encodable(name), **numbers, "skipped": "0"})
    for one in report.verdicts:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": encodable(name), "name": encodable(one.gate)}
        )
        if not one.passed:
            ElementTree.SubElement(case, "failure", {"type": one.limited, "message": encodable(one.reason)})
        else:
            ElementTree.SubElement(case, "system-out").text = encodable(told(one))
    ElementTree.indent(root, " ")
    data = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    path.write_bytes(data + b"\n")

"""gates.xml: the gates as test cases in the JUnit form that CI systems read."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from segpipe.metrics.gates import GateReport, told
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.text import printable

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""


@REPORTS.register("gates.xml")
def write(given: ReportInput, path: Path) -> None:
    """Write one test case for each limit of a gate; one that does not hold is a failure with its reason."""
    report = given.gates or GateReport(given.summary.coverage, ())
    name = f"{given.summary.suite}.{given.summary.model}"
    numbers = {"tests": str(len(report.verdicts)), "failures": str(len(report.failed)), "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": "segpipe gates", **numbers})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _text(name), **numbers, "skipped": "0"})
    for one in report.verdicts:
        case = ElementTree.SubElement(suite, "testcase", {"classname": _text(name), "name": _text(one.gate)})
        if not one.passed:
            ElementTree.SubElement(case, "failure", {"type": one.limited, "message": _text(one.reason)})
        else:
            ElementTree.SubElement(case, "system-out").text = _text(told(one))
    ElementTree.indent(root, " ")
    data = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    path.write_bytes(data + b"\n")


def _text(words: str) -> str:
    return NO_XML.sub("?", printable(words))

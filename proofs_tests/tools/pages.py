"""Run the `>>>` lines of a page; `python -m proofs_tests.tools.pages PAGE` writes the output."""

import doctest
import re
import sys
from pathlib import Path


def examples(text, name):
    """The `>>>` examples of a page; a fence ends the output above it."""
    unfenced = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    return doctest.DocTestParser().get_doctest(unfenced, {}, name, name, 0)


def failures(test):
    """Return a report on the examples whose output differs from the page."""
    report = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    return "".join(report)


class Noted(doctest.DocTestRunner):
    """Keeps what each wrong example gave: line -> (lines of source, lines expected, text)."""

    def __init__(self):
        super().__init__(verbose=False)
        self.wrong = {}

    def report_failure(self, out, test, example, got):
        lengths = example.source.count("\n"), example.want.count("\n")
        self.wrong[example.lineno] = (*lengths, got)

    def report_unexpected_exception(self, out, test, example, exc_info):
        raise exc_info[1]


def corrected(text):
    """The page with what its examples give."""
    runner, lines = Noted(), text.splitlines(keepends=True)
    runner.run(examples(text, "page"), out=lambda _: None)
    for start, (source, want, got) in sorted(runner.wrong.items(), reverse=True):
        lines[start + source : start + source + want] = [got]
    return "".join(lines)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(corrected(path.read_text()))

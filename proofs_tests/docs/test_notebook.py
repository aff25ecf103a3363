"""The notebook of reference/README.md: its cells run in order and show what the page says."""

import ast
import contextlib
import io

import pytest

from docs import notebook
from proofs_tests.tools import ROOT
from proofs_tests.tools.pages import examples


def shown(source: str, variables: dict) -> str:
    """Run a cell as Jupyter does: what it prints, then the value of its last line."""
    tree, output = ast.parse(source), io.StringIO()
    last = tree.body.pop().value if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(output):
        exec(compile(tree, "cell", "exec"), variables)
        value = last and eval(compile(ast.Expression(last), "cell", "eval"), variables)
    return output.getvalue() + (f"{value!r}\n" if value is not None else "")


def sources(kind: str, folder) -> list[str]:
    made = notebook.notebook(folder)["cells"]
    return ["".join(cell["source"]) for cell in made if cell["cell_type"] == kind]


def test_the_cells_show_what_the_page_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = examples(notebook.PAGE.read_text(), "page").examples
    variables = {}
    outputs = [shown(source, variables) for source in sources("code", ROOT)[1:]]
    assert [text for text in outputs if text] == [one.want for one in page if one.want]
    assert len(outputs) > 60


def test_it_starts_in_the_folder_of_the_project_and_finds_its_pictures():
    folder = ROOT / "docs"
    assert sources("code", folder)[0].startswith("%cd ..\n")
    text = "\n".join(sources("markdown", folder))
    assert "](../reference/saliency.png)" in text
    assert "](../reference/../docs/play.html)" in text and ">>> " not in text


def test_a_wrong_cell_is_found():
    assert shown("x = 1\nx", {}) == "1\n" and shown("print(2)", {}) == "2\n"
    with pytest.raises(NameError):
        shown("y", {})

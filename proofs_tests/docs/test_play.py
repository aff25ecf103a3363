"""docs/play.html gives the numbers of reference/: in node, in Chromium and in Firefox."""

import json
import re
import shutil
import subprocess

import pytest

from proofs_tests.tools import ROOT, browsers, play

PAGE = (ROOT / "docs/play.html").read_text()
ARITHMETIC, DRAWING = re.findall(r'^<script id="\w+">\n(.*?)^</script>', PAGE, re.M | re.S)
ANSWERS = (ROOT / "proofs_tests/tools/play.js").read_text()
LIVE = (ROOT / "proofs_tests/tools/play_live.js").read_text()
EXAMPLE = {"weights": "2,-5;5,1;-1,3|-1,1,1;1,1,-2", "keep": 3, "steps": 2}
WIDE = {"weights": "1;1;1;1|1,1,1,1;1,1,1,1;1,1,1,1;1,1,1,1|1,1,1,1", "keep": 8, "steps": 8}
CASES = [EXAMPLE, WIDE, *play.draw(300)]


@pytest.fixture(scope="module")
def reference() -> list[dict]:
    return [play.expected(case) for case in CASES]


def same(answers: list[dict], reference: list[dict]) -> None:
    """Each cut of the page carries R (Theorem 2); all else is what reference/ gives."""
    assert len(answers) == len(CASES)
    for case, answer, expected in zip(CASES, answers, reference):
        assert {total for _, total in answer["cuts"]} == {answer["R"]}, case
        answer["cuts"] = sorted([edges, ""] for edges, _ in answer["cuts"])
        assert answer == expected, case


def test_the_drawn_networks_are_of_all_kinds(reference):
    """Open and closed ones, refusals, fractions, collapse by each uncertified method."""
    assert {"0", "38", "16"} < {answer["R"] for answer in reference}
    assert any("/" in answer["R"] for answer in reference)
    assert any(answer["methods"]["certified"]["refusal"] for answer in reference)
    for name in ("one-shot", "magnitude", "algorithm-1"):
        last = [answer["methods"][name]["steps"][-1] for answer in reference]
        assert {is_open for *_, is_open in last} == {True, False}


def test_node_gives_the_numbers_of_the_reference(reference, tmp_path):
    if not (node := shutil.which("node")):
        pytest.skip("node is not installed, so the arithmetic of the page was not run in it")
    script = tmp_path / "answers.js"
    ask = f"console.log(JSON.stringify({json.dumps(CASES)}.map(answers)));"
    script.write_text("\n".join([ARITHMETIC, ANSWERS, ask]))
    done = subprocess.run([node, str(script)], capture_output=True, text=True, check=True)
    same(json.loads(done.stdout), reference)


@pytest.mark.parametrize("browser", browsers.NAMES)
def test_browsers_give_the_numbers_of_the_reference(reference, browser, tmp_path):
    """And the page itself: clicks, keys, a drag, a mistake; no error, nothing loaded."""
    if not browsers.program(browser):
        pytest.skip(f"{browser} is not installed, so the page was not opened in it")
    ask = f"send({{ answers: {json.dumps(CASES)}.map(answers), live: live() }});"
    script = f"<script>{ANSWERS}\n{LIVE}\n{ask}</script></body>"
    page = PAGE.replace("<head>", f"<head><script>{FIRST}</script>").replace("</body>", script)
    result = json.loads(browsers.sent(browser, page, tmp_path / "profile"))
    same(result["answers"], reference)
    assert result["live"] == SEEN


FIRST = 'window.errors = []; addEventListener("error", (event) => errors.push(event.message));'
SEEN = {  # the first network has the numbers of reference/README.md, sections 4 to 6
    "start": "R = 38, the flow through the network 12 weights. The next step removes 9 weights "
    "(dashed). Together they carry 47, not less than R: they may hold a whole cut.",
    "one shot": "✕ Layer collapse Layer 2 is empty: R = 0, nothing gets through. The step removed "
    "47, not less than R = 38: no certificate.",
    "red": [True, True, "✕ empty"],
    "focus": "back",  # no further step, and the focus is not lost
    "algorithm 1": "R = 6: a path is open 3 weights left. The step removed 10, less than R = 16: "
    "proven by Theorem 4.",
    "certificate": ["1 6 25 38 ✓ proven", "2 3 10 16 ✓ proven"],
    "cut": "Into the filled neurons: 10 + 2 + 7 + 4 + 7 + 8 = 38 All 8 cuts sum to R = 38.",
    "cards": [
        "✕ layer 2 is empty survives to compression 3 of 6",
        "✕ layer 2 is empty survives to compression 12/5 of 6",
        "✓ a path is open survives to compression 6 of 6",
        "✓ a path is open survives to compression 6 of 6",
    ],
    "keys": ["x1 to h1", "5/2, score 5, next"],
    "chosen": "x2 to h1",
    "drag": ["-4", "score = 1 × |−4| × 2 = 8 (flow in × |w| × flow out)"],
    "typed": ["true", "1/3", "score = 1 × |1/3| × 2 = 2/3 (flow in × |w| × flow out)"],
    "mistake": '"1.5.2" is not a weight; write an integer, a decimal or a fraction',
    "own": ["R = 3/2", "x1 → h1 x2 → h1 h1 → y1"],
    "refused": "No path",
    "errors": [],
    "loaded": 0,
}


def test_the_page_is_one_small_file_that_loads_nothing():
    assert len(PAGE.encode()) < 150_000
    links = set(re.findall(r'\b(?:src|href)="([^"]*)"', PAGE)) - {"data:,", "#"}
    assert links and all((ROOT / "docs" / link).is_file() for link in links)
    assert "default-src 'none'" in PAGE
    assert not re.search(r"\bfetch\(|XMLHttpRequest|\bimport\b|url\(|https?:", PAGE)


def test_the_arithmetic_stands_apart_and_has_the_names_of_the_reference():
    assert not re.search(r"\b(document|window|state|svg)\b", ARITHMETIC)
    names = set(re.findall(r"^(?:function\*?|const) (\w+)", ARITHMETIC, re.M))
    assert names >= {
        "magnitude", "synflow_objective", "synflow_scores", "all_kept", "masked", "kept", "flat",
        "unflat", "path_open", "keep_top", "exponential", "synflow_prune", "critical_compression",
        "certified", "cut", "theorem_4",
    }  # fmt: skip


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", (":root ", ':root[data-theme="dark"] '))
def test_text_is_legible_in_both_themes(theme):
    """Contrast of at least 4.5 (WCAG 2.2, 1.4.3) on the page and on its panels."""
    block = PAGE.split(theme + "{")[1].split("}")[0]
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for ink in ("ink", "soft", "flow", "next", "collapse", "cut"):
        for paper in ("paper", "panel"):
            low, high = sorted(luminance(colors[name]) for name in (ink, paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
    low, high = sorted(luminance(colors[name]) for name in ("collapse", "collapse-paper"))
    assert (high + 0.05) / (low + 0.05) >= 4.5

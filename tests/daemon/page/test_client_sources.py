"""The sources of the page's client: what a reader of them may rely on, and what no text of a stranger may meet."""

from __future__ import annotations

import re
from pathlib import Path

from prefd.daemon.jobs.states import ENDED, PHASE_OF, RUNNING, WAITING
from prefd.plugins.metrics import METRICS
from support.paths import ROOT

SOURCES = ROOT / "daemon" / "page" / "client" / "src"
MOST_LINES = 200
FROM = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"'.][^"']*)["']""")
MARKUP = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "dangerouslySetInnerHTML", "document.write", "createContextualFragment", "DOMParser",
    "eval(", "new Function", "srcdoc", 'style="', "document.cookie", "EventSource(", "postMessage",
)  # fmt: skip
"""What would make markup or a program of a text, break the page's policy, or hand the token on."""


def read_sources() -> dict[str, str]:
    """Every source of the client by its path, without what is made from the API's document."""
    paths = [path for path in SOURCES.rglob("*") if path.suffix in (".ts", ".tsx", ".css", ".html")]
    return {
        str(path.relative_to(SOURCES)): path.read_text(encoding="utf-8")
        for path in paths
        if "generated" not in path.parts
    }


def list_importers(package: str) -> set[str]:
    """The sources that import a package, or a file of it."""
    return {
        name
        for name, text in read_sources().items()
        if any(each == package or each.startswith(f"{package}/") for each in FROM.findall(text))
    }


def test_one_file_knows_the_chart_library_and_one_asks_the_server() -> None:
    assert list_importers("uplot") == {str(Path("charts", "chart.tsx"))}
    asking = {name for name, text in read_sources().items() if re.search(r"\bfetch\(|XMLHttpRequest|sendBeacon", text)}
    assert asking == {str(Path("api", "client.ts"))}


def test_the_editor_yaml_and_charts_come_with_the_screens_that_need_them() -> None:
    at_once = re.findall(r'^import .* from "\./(\w+)/screen"', read_sources()["screens.tsx"], re.MULTILINE)
    assert at_once == ["jobs"], "every other screen comes when it is opened"
    assert list_importers("@codemirror/view") == {str(Path("train", "editor.tsx"))}
    elsewhere = {
        name
        for name, text in read_sources().items()
        if re.search(r'from "yaml"', text) and Path(name).parts[0] != "train"
    }
    assert elsewhere == set(), "it is imported where it is used, by `import()`: it is not of the first load"


def test_no_source_can_make_markup_or_a_program_of_a_text() -> None:
    faults = {
        (name, word)
        for name, text in read_sources().items()
        for word in MARKUP
        if word in text and name != "index.html"
    }
    assert faults == set()


def test_every_source_is_short() -> None:
    long = {name: len(lines) for name, text in read_sources().items() if len(lines := text.splitlines()) >= MOST_LINES}
    assert long == {}
    assert len(read_sources()) > 100


def read_words(source: str, name: str) -> list[str]:
    """The texts between quotes in the constant of this name, with what stands on the lines behind it up to its end."""
    match = re.search(rf"^(?:export )?const {name}\b.*? = (.*?)(?: as const)?;$", source, re.DOTALL | re.MULTILINE)
    assert match is not None, name
    return re.findall(r'"([^"]+)"', match[1])


def test_the_client_knows_the_states_that_the_table_of_states_has() -> None:
    sources = read_sources()
    assert read_words(sources["parts/state.tsx"], "RUNNING") == list(RUNNING)
    assert set(read_words(sources["parts/state.tsx"], "ENDED")) == ENDED
    assert read_words(sources["jobs/actions.ts"], "WAITING") == list(WAITING)
    phases = re.findall(r'(\w+): "(\w+)"', re.search(r"PHASES.*= \{(.*)\};", sources["jobs/pace.ts"])[1])  # type: ignore[index]
    assert dict(phases) == PHASE_OF


def test_the_client_names_no_metric_that_the_table_of_metrics_lacks() -> None:
    """Its charts have titles of their own; what a chart is of, where it begins and how far its axis reaches is the table's."""
    sources = read_sources()
    panels = sources["charts/panels.ts"]
    named = {*read_words(panels, "METRICS"), *re.findall(r'(?:plain|train)\("([\w/]+)"', panels)}
    named |= {f"{kind}/{side}" for kind in re.findall(r'sides\("(\w+)"\)', panels) for side in ("chosen", "rejected")}
    named |= set(re.findall(r'"?((?:rewards|logps)/\w+)"?:', sources["text/metrics.ts"]))
    named |= set(re.findall(r"\$\{EVAL\}([\w/]+)`", sources["compare/measures.ts"]))
    assert len(named) > 8
    assert named <= METRICS.keys(), named - METRICS.keys()
    for metric, level in (("rewards/accuracies", 0.5), ("rewards/margins", 0), ("rewards/chosen", 0)):
        assert METRICS[metric].level == level
    assert re.search(r"METRICS.accuracy\)\], level: 0.5", panels)

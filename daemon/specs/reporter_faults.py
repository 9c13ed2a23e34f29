"""Checks the reporters that a spec names against those that the plugins bring, and that what they need is installed."""

from __future__ import annotations

from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.text_fault import TextFault
from prefd.daemon.text.wording import clip, find_nearest


def faults_of_reporters(spec: JobSpec, catalog: Catalog | None) -> list[TextFault]:
    """Lists what is wrong with each reporter of a spec, by place; nothing without a catalogue."""
    if catalog is None:
        return []
    faults = (
        (f"report_to[{index}]", explain_reporter(name, catalog)) for index, name in enumerate(spec.report_to or ())
    )
    return [TextFault(fault, place) for place, fault in faults if fault is not None]


def explain_reporter(name: str, catalog: Catalog) -> str | None:
    """Says why nothing can be reported to `name`, and what to do; None where it can."""
    if (info := catalog.reporters.get(name)) is not None:
        return None if info.missing is None else f"{name}: {info.missing}"
    near = find_nearest(name.lower(), catalog.reporters)
    hint = f"did you mean {near}? " if near else ""
    names = ", ".join(sorted(catalog.reporters)) or "none"
    failures = "".join(f" (plugin {each.name} failed: {clip(str(each.error), 200)})" for each in catalog.failed)
    return f"no reporter is called {clip(name)!r}; {hint}known: {names}{failures}"

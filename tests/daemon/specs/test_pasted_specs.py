"""Specs as web pages, chats, shells and word processors hand them on are told with their line and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError

SPEC = "model: org/name\ndata: {path: org/pairs}\n"


def refusal(text: str, name: str = "job.yaml") -> str:
    with pytest.raises(SpecError) as caught:
        read_specs(text.encode(), name, None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n<!DOCTYPE html>\n<html><body>404</body></html>", "line 1: it is a web page (HTML) or XML"),
        ('<?xml version="1.0"?>', "line 1: it is a web page (HTML) or XML"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        ("404: Not Found", "the answer of a web server"),
        ("diff --git a/x b/x\n", "a diff"),
        ("#!/bin/sh\necho\n", "a script"),
        (f"```yaml\n{SPEC}```\n", "line 1: '```yaml' is markdown, from around the spec: take it out"),
        (f"{SPEC}```\n", "line 3: '```' is markdown"),
        (f"<<<<<<< HEAD\n{SPEC}=======\n", "line 1: '<<<<<<< HEAD' is of a merge that was not finished"),
        (f"$ cat ipo.yaml\n{SPEC}", "line 1: '$ cat ipo.yaml' begins with a shell's prompt"),
        (f"{SPEC}EOF\n", "line 3: 'EOF' is of a shell's here-document"),
        ("data:\n\u00a0\u00a0path: x\nmodel: m\n", "path: the key begins or ends with NO-BREAK SPACE (U+00A0)"),
        (f"{SPEC}na\u200bme: x\n", "line 3: na me: the key has a character that cannot be seen, ZERO WIDTH SPACE (U+200B)"),
        (f"{SPEC}name: “smart”\n", 'line 3: name: the quotes of “smart” are typographic, and part of the text: write "smart"'),
        (f"{SPEC}name: \u202aC\n", "LEFT-TO-RIGHT EMBEDDING (U+202A)"),
        (f"{SPEC}training: {{num_layers: −1}}\n", "line 3: training.num_layers: −1 has MINUS SIGN (U+2212): write -1"),
        (f"{SPEC}training: {{learning_rate: 1e–5}}\n", "1e–5 has EN DASH (U+2013): write 1e-5"),
        (f"{SPEC}training: {{learning_rate: 1,5e-5}}\n", "is it of a number that is written with a comma? write a point"),
        (f"{SPEC}training: {{iters: 1_000}}\n", 'got "1_000" (write 1000)'),
        (f"{SPEC}training: {{iters: 1e3}}\n", "got 1000.0 (write 1000)"),
        ("model：org/name\n", "line 1: expected `key: value` lines at the top, got text; the line has FULLWIDTH COLON (U+FF1A): write :"),
        ("model:org/name\n", "line 1: expected `key: value` lines at the top, got text; put a space behind the colon"),
        ('model = "org/name"\n', "it looks like TOML: call it .toml"),
        ("data:\n\tpath: x\n", "a tab in the indent: indent with spaces"),
        ('model: "C:\\data"\n', "in \"…\" a backslash begins an escape: write '…', or / in a path"),
        ("model: %USERPROFILE%\\x\n", "put the value in quotes"),
        (f"name: run: 2\n{SPEC}", "is a value with `: ` in it not in quotes"),
        ("“model”: org/name\n", "line 1: “model”: the key has LEFT DOUBLE QUOTATION MARK (U+201C): retype it"),
        ("model: org/name\ndata:\n  path:\n    — a.jsonl\n    — b.jsonl\n", "begins with EM DASH (U+2014): an item of a list begins with -"),
        (f"{SPEC}name: &quot;x&quot;\n", "the line has &quot;, as a web page's source writes it: write '\"'"),
        (f"{SPEC}name: a &amp; b\n", "line 3: name: it has &amp;, as a web page's source writes it: write '&'"),
        ("1 model: org/name\n2 data: {path: x}\n", "line 1: 1 model: the key begins with '1', which was copied along"),
        ("+model: org/name\n", "the key begins with '+', which was copied along: take it out"),
        ("> model: org/name\n> data: {path: x}\n", "line 1: '> model: org/name' is quoted as in a mail"),
        (f"{SPEC}training: {{iters: １０}}\n", "１０ has FULLWIDTH DIGIT ONE (U+FF11): write 10"),
        (f"name: 007\n{SPEC}", "line 1: name: expected text, got 7 (put it in quotes)"),
    ],
)  # fmt: skip
def test_a_pasted_yaml_is_told_with_its_line_and_remedy(text: str, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ('{“model”: "m"}', "a.json", """the line has a typographic quote (LEFT DOUBLE QUOTATION MARK (U+201C)): write " or '"""),
        ('{"model": "m",}', "a.json", "JSON has no comments and no comma behind the last value"),
        ('{"model": "C:\\data"}', "a.json", "write \\\\ for a backslash, or / in a path"),
        ('{"model": None}', "a.json", "JSON writes true, false and null"),
        ('{"a": 1}\n{"a": 2}', "a.json", "rows belong into a file that data.path names"),
        ("model: m\n", "a.json", "YAML is called .yaml"),
        ("model: m\n", "a.toml", "it looks like YAML: call it .yaml"),
        ('model = "C:\\data"\n', "a.toml", "a backslash begins an escape"),
        ("model = m\n", "a.toml", "text goes in quotes"),
        ("name = 2026-11-23\nmodel = 'm'\ndata = {path = 'p'}\n", "a.toml", "name: expected text, got a date or time (put it in quotes)"),
        ("```toml\nmodel = 'm'\n```\n", "a.toml", "line 1: '```toml' is markdown"),
    ],
)  # fmt: skip
def test_toml_and_json_are_told_too(text: str, name: str, message: str) -> None:
    assert message in refusal(text, name)


@pytest.mark.parametrize(
    "text",
    [
        SPEC.replace("\n", "\r\n"),
        SPEC.replace("\n", "\r"),
        "\ufeff" + SPEC,
        "---\n" + SPEC,
        f"{SPEC}name: it's “so” – called ☕\n",
        f"{SPEC}name: 日本語\n",
        f"{SPEC}name: naïve—run\n",
    ],
)
def test_what_is_only_unusual_is_read(text: str) -> None:
    assert read_specs(text.encode(), "job.yaml").spec.model == "org/name"


def test_an_old_macs_lines_are_read_as_toml() -> None:
    text = "model = 'org/name'\rdata = {path = 'org/pairs'}\r"
    assert read_specs(text.encode(), "job.toml").spec.model == "org/name"


def test_a_powershell_file_is_read(tmp_path: Path) -> None:
    assert read_specs(SPEC.replace("\n", "\r\n").encode("utf-16"), "job.yaml", None, tmp_path).spec.name == "job"

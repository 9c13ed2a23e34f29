"""Hostile spec files, each read in a process of its own: how long it took, what it cost in memory, what was said.

    PYTHONPATH=tests python -m support.hostile_specs FOLDER        prints {name: {"seconds", "mebibytes", "lines"}} as JSON

Each is a fork of one that has everything imported, and `mebibytes` is the peak beyond what that takes. Run by tests/whole/test_hostile_specs.py.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.text.parsed import MAX_BYTES
from support import fake_worker

NEST = 100_000
ROOM = MAX_BYTES - 200
MEMORY_LIMIT, SECONDS_LIMIT = 2**31, 20


def body(**more: Any) -> bytes:
    """A spec that would be good but for `more`."""
    return json.dumps({"model": "org/name", "data": {"path": "org/pairs"}} | more).encode()


def fill(unit: str) -> str:
    return unit * (ROOM // len(unit))


SPEC = "model: org/name\ndata: {path: org/pairs}\n"
ATTACKS: dict[str, tuple[str, bytes | str, str]] = {
    # nothing to expand
    "alias bomb.yaml": (".yaml", "a: &a [x,x]\n" + "".join(f"b{n}: &b{n} [{', '.join(['*a'] * 9)}]\n" for n in range(99)), "anchors and aliases"),
    "an alias of itself.yaml": (".yaml", "a: &a [*a]", "anchors and aliases"),
    "merge key.yaml": (".yaml", "base: &b {x: 1}\nloss: {<<: *b}", "anchors and aliases"),
    "merge key of a mapping.yaml": (".yaml", SPEC + "loss: {<<: {name: ipo}}", "loss"),
    "a million anchors.yaml": (".yaml", fill("- &a b\n"), "anchors and aliases"),
    "json in json.json": (".json", body(loss={"name": "ipo", "beta": "${beta}"}), "loss.beta"),
    # depth
    "flow lists.yaml": (".yaml", "[" * NEST, "nested deeper than 32"),
    "flow mappings.yaml": (".yaml", "{a: " * (NEST // 2), "nested deeper than 32"),
    "block lists.yaml": (".yaml", "- " * NEST, "nested deeper than 32"),
    "block mappings.yaml": (".yaml", "".join(" " * n + "a:\n" for n in range(700)), "nested deeper than 32"),
    "keys of keys.yaml": (".yaml", "? " * NEST, ""),
    "lists.json": (".json", "[" * NEST, "nested deeper than 32"),
    "mappings.json": (".json", '{"a":' * (NEST // 3), "nested deeper than 32"),
    "closed lists.json": (".json", '{"a":' + "[" * NEST + "]" * NEST + "}", "nested deeper than 32"),
    "lists.toml": (".toml", "a = " + "[" * NEST, "nested deeper than 32"),
    "inline tables.toml": (".toml", "a = " + "{a=" * (NEST // 2), "nested deeper than 32"),
    "dotted key.toml": (".toml", "a." * NEST + "a = 1", "nested deeper than 32"),
    "dotted tables.toml": (".toml", "".join(f"[{'a.' * 30}b{n}]\n" for n in range(3_000)), "nested deeper than 32"),
    # size
    "10 MB.yaml": (".yaml", b"a: 1\n" * 2_097_152, "larger than 256 KiB"),
    "10 MB.json": (".json", b'{"a": "' + b"x" * 10**7 + b'"}', "larger than 256 KiB"),
    "10 MB.toml": (".toml", b'a = "' + b"x" * 10**7 + b'"', "larger than 256 KiB"),
    "keys.yaml": (".yaml", "".join(f"k{n}: 1\n" for n in range(25_000)), "more than 5000 values"),
    "keys.json": (".json", json.dumps({f"k{n}": 1 for n in range(18_000)}), "more than 5000 values"),
    "keys.toml": (".toml", "".join(f"k{n} = 1\n" for n in range(20_000)), "more than 5000 values"),
    "just few enough keys.json": (".json", body(**{f"learning_rat{n}": 1 for n in range(4_900)}), "unknown key"),
    "just few enough parameters.json": (".json", body(loss={"name": "ipo"} | {f"bet{n}": 1 for n in range(4_900)}), "unknown parameter"),
    "just few enough losses.json": (".json", body(loss=[{"name": f"sigmoi{n}"} for n in range(1_600)]), "no loss is called"),
    "just few enough types.json": (".json", body(after=["x"] * 4_900), "after: must have at most 100"),
    "a long key.yaml": (".yaml", '"' + "k" * ROOM + '": 1', "line 1"),
    "a long key.json": (".json", body(**{"k" * (ROOM - 100): 1}), "unknown key"),
    "a long key.toml": (".toml", "k" * ROOM + " = 1", "unknown key"),
    "a long name.json": (".json", body(name="n" * (ROOM - 100)), "name: must have at most 200 characters"),
    "a long model.json": (".json", body(model="m" * (ROOM - 100)), "File name too long"),
    "a long path.json": (".json", body(data={"path": "/" + "p" * (ROOM - 100)}), "File name too long"),
    "a deep path.json": (".json", body(data={"path": "/a" * (ROOM // 2 - 100)}), "File name too long"),
    "a long loss.json": (".json", body(loss={"name": "sigmoid" * 30_000}), "no loss is called"),
    "elements.yaml": (".yaml", "a: [" + fill("1,") + "]", "more than 5000 values"),
    "empty lists.json": (".json", '{"a": [' + fill("[],") + "[]]}", "more than 5000 values"),
    "documents.yaml": (".yaml", fill("---\n"), "a second document"),
    "ends.yaml": (".yaml", SPEC + fill("...\n"), ""),
    "comments.yaml": (".yaml", fill("#\n"), "no values"),
    "blank lines.yaml": (".yaml", "a:" + fill("\n"), ""),
    "a folded scalar.yaml": (".yaml", "a: >\n" + fill(" b\n"), ""),
    "words.yaml": (".yaml", fill("a b "), ""),
    "lines of words.yaml": (".yaml", "a: " + fill("b\n c\n\n "), ""),
    "escapes.yaml": (".yaml", '"' + fill("\\x41") + '": 1', "line 1"),
    "an open quote.yaml": (".yaml", "a: '" + fill("x'' "), "cut short"),
    "spaces.yaml": (".yaml", "a: {" + " " * ROOM, "cut short"),
    "tabs.yaml": (".yaml", "a:" + "\t" * ROOM + "b", ""),
    "directives.yaml": (".yaml", fill("%A b\n") + "---\na: 1", ""),
    "open strings.toml": (".toml", 'a = """' + fill('""\\"'), ""),
    "quotes.toml": (".toml", fill("'\"'"), ""),
    "spaces.toml": (".toml", fill("a" + " " * 500), ""),
    "underscores.toml": (".toml", "a = 1" + fill("_1"), ""),
    "array of tables.toml": (".toml", fill("[[a]]\n"), ""),
    # numbers
    "a huge number.yaml": (".yaml", "a: " + "9" * ROOM, "unknown key"),
    "a huge number of 400 digits.yaml": (".yaml", "a: " + "9" * 400, "too large"),
    "a huge number.json": (".json", '{"a": ' + "9" * ROOM + "}", "too large"),
    "a huge number.toml": (".toml", "a = " + "9" * ROOM, ""),
    "a huge hexadecimal.toml": (".toml", "a = 0x" + "f" * ROOM, "too large"),
    "a huge exponent.yaml": (".yaml", "a: 1e400", "finite"),
    "a huge exponent.json": (".json", '{"a": -1e400}', "finite"),
    "a huge exponent.toml": (".toml", "a = 1e400", "finite"),
    "not a number.yaml": (".yaml", "a: .nan", "finite"),
    "not a number.json": (".json", '{"a": NaN}', "expected a finite number, got nan"),
    "not a number.toml": (".toml", "a = nan", "finite"),
    "infinite.yaml": (".yaml", "a: -.INF", "finite"),
    "infinite.json": (".json", '{"a": -Infinity}', "expected a finite number, got -inf"),
    "infinite.toml": (".toml", "a = +inf", "finite"),
    # twice, and not what it seems
    "twice.yaml": (".yaml", SPEC + "model: other/name", "given twice"),
    "twice in quotes.yaml": (".yaml", SPEC + '"\\x6dodel": other/name', "given twice"),
    "twice.json": (".json", '{"model": "a/b", "mod\\u0065l": "c/d"}', "given twice"),
    "twice.toml": (".toml", "model = 1\n'model' = 2", "overwrite"),
    "NUL.yaml": (".yaml", SPEC + "name: a\0b", "NUL"),
    "NUL.json": (".json", b'{"a": "\0"}', "NUL"),
    "NUL.toml": (".toml", b'a = "\0"', "NUL"),
    "NUL escaped.json": (".json", body(name="a\0b"), "control character"),
    "NUL in a path.json": (".json", body(data={"path": "/a\0b"}), "control character"),
    "UTF-16 cut short.yaml": (".yaml", SPEC.encode("utf-16")[:-1], "UTF-16 text and is none"),
    "UTF-16 without a mark.yaml": (".yaml", SPEC.encode("utf-16-le"), "looks like UTF-16 without its mark"),
    "UTF-32 out of range.json": (".json", b"\xff\xfe\0\0" + b"\xff" * 40, "UTF-32 text and is none"),
    "overlong.yaml": (".yaml", b"a: \xc0\xaf", "not UTF-8"),
    "half a surrogate.json": (".json", '{"a": "\\ud800"}', "surrogate"),
    # code, and files that are no spec's business
    "python object.yaml": (".yaml", "a: !!python/object/apply:os.system ['touch pwned']", "tags"),
    "python name.yaml": (".yaml", "a: !!python/name:os.system", "tags"),
    "own tag.yaml": (".yaml", "%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [x]", "tags"),
    "include.yaml": (".yaml", "a: !include /etc/passwd", "tags"),
    "plugins.json": (".json", body(plugins=["/tmp/evil.py"]), "plugins: unknown key"),
    "trust.json": (".json", body(trust_remote_code=True), "trust_remote_code: unknown key"),
    "loss of a module.json": (".json", body(loss={"name": "os.system"}), "no loss is called"),
    "loss of a path.json": (".json", body(loss={"name": "../../evil.py:Loss"}), "no loss is called"),
    "loss of dunder.json": (".json", body(loss={"name": "__class__"}), "no loss is called"),
    "parameter of dunder.json": (".json", body(loss={"name": "ipo", "__init__": 1}), "unknown parameter"),
    "model of a shell.json": (".json", body(model="x; touch pwned"), "no such folder"),
    "model of a substitution.json": (".json", body(model="$(touch pwned)/`touch pwned`"), "variables such as $(touch pwned) are not expanded"),
    "model of an address.json": (".json", body(model="https://example.invalid/model"), "is an address"),
    "data of an address.json": (".json", body(data={"path": "https://example.invalid/a.jsonl"}), "is an address"),
    "data of a pattern.json": (".json", body(data={"path": "/**/*"}), "no such file"),
    "data of a device.json": (".json", body(data={"path": "/dev/zero"}), "neither a file nor a folder"),
    "validation of a device.json": (".json", body(data={"path": "org/pairs", "validation": "/dev/zero"}), "neither a file nor a folder"),
    "escape in a name.json": (".json", body(name="\x1b[31mred"), "control character"),
    "line in a name.json": (".json", body(name="a\n2026-11-22 INFO done"), "printable"),
    "direction in a name.json": (".json", body(name="a\u202egnp.exe"), "cannot be seen"),
    "escape in a key.json": (".json", body(**{"\x1b]0;title\x07": 1}), "control character"),
    # sweeps
    "a billion jobs.json": (".json", body(sweep={f"loss.p{n}": list(range(1_000)) for n in range(3)}), "1,000,000,000 combinations"),
    "a googol of jobs.json": (".json", body(sweep={f"loss.p{n}": [0, 1] for n in range(400)}), "combinations"),
    "a sweep of long specs.json": (".json", body(sweep={"loss.beta": list(range(1, 257))}, name="n" * 100_000), "combinations of a spec this long"),
    "a sweep of sweeps.json": (".json", body(sweep={"sweep.loss.beta": [1, 2]}), "sweep"),
    "256 bad jobs.json": (".json", body(loss={"name": "ipo"}, sweep={"loss.beta": [f"x{n}" for n in range(256)]}), "more fault"),
}  # fmt: skip


def peak() -> float:
    """The most memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measured(read: Callable[[], list[str]]) -> dict[str, Any]:
    """What a fork says of itself once it has done `read`."""
    out, into = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_LIMIT, SECONDS_LIMIT))
            began, before = time.process_time(), peak()
            lines = read()
            answer = {"seconds": time.process_time() - began, "mebibytes": peak() - before, "lines": lines}
            with open(into, "w") as file:
                json.dump(answer, file)
        finally:
            os._exit(0)
    os.close(into)
    with open(out) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text or '{"seconds": 1e9, "mebibytes": 1e9, "lines": ["it died of it"]}')  # type: ignore[no-any-return]


def read(data: bytes, name: str, folder: Path) -> list[str]:
    """What is wrong with it; nothing, where it would be a job."""
    try:
        read_specs(data, name, fake_worker.catalog(), folder)
    except SpecError as error:
        return list(error.lines)
    return []


def main(folder: Path) -> None:
    good = [(SPEC.encode(), "a.yaml"), (body(), "a.json"), (b'model = "a/b"\ndata.path = "c/d"', "a.toml")]
    for data, name in good:
        assert read(data, name, folder) == []
    results = {}
    for name in sys.argv[2:] or ATTACKS:
        suffix, attack, _ = ATTACKS[name]
        raw = attack if isinstance(attack, bytes) else attack.encode()
        results[name] = measured(lambda raw=raw, suffix=suffix: read(raw, f"x{suffix}", folder))  # type: ignore[misc]
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

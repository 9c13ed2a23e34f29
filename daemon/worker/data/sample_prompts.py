"""Finds the prompts that a policy answers while it trains: held-out ones, or those of a file, as the job's own rows are tokenized."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.specs.samples_spec import SamplesSpec
from prefd.daemon.worker.data.decoding import decode_side
from prefd.daemon.worker.data.line_file import read_line_file
from prefd.daemon.worker.data.prompts import ChatTokenizer, Settings
from prefd.daemon.worker.data.rows import DataError, Place, read_rows
from prefd.daemon.worker.data.tokens import Completion, Encoder, Example
from prefd.plugins.types import UnusableRow

KEY = "eval_samples.prompts"
MOST_PROMPTS = 256
"""Prompts of a file: each is answered at every sampling."""
MOST_BYTES = 2**20
"""Bytes of a file of prompts that is text."""
TEXT = ".txt"
REMEDY = "write one prompt a line (.txt), or rows with a column prompt (.jsonl, .json, .csv, .parquet)"
SOME_ANSWER = "a"
"""In the place of an answer: a prompt has the same tokens whatever follows it."""


@dataclass(frozen=True)
class SamplePrompt:
    """SamplePrompt is a prompt that is answered again and again."""

    place: str
    """Where its row stands, as `pairs.jsonl:4`."""
    text: str
    tokens: tuple[int, ...]


def find_prompts(
    samples: SamplesSpec, data: DataSpec, held_out: Sequence[Example], tokenizer: ChatTokenizer
) -> list[SamplePrompt]:
    """Finds the prompts that `samples` asks for, each once. Raises `DataError` where there is none, or one cannot be used."""
    encoder = Encoder(tokenizer, data.max_length, Settings.from_spec(data))
    if samples.file is not None:
        return [*_encode_all(Path(samples.file), encoder, tokenizer)]
    empty = _encode_empty(encoder)
    prompts: dict[tuple[int, ...], Example] = {}
    for example in held_out:
        prompts.setdefault(tuple(example.chosen.prompt.tolist()), example)
    prompts.pop(empty, None)
    if not prompts:
        why = "no held-out row has a prompt" if held_out else "no row is held out"
        raise DataError(f"{KEY}: {why}, so there is nothing to answer; name a file of prompts: {REMEDY}")
    firsts = [*prompts.values()][: int(samples.prompts)]
    return [_make_prompt(str(example), example.chosen, tokenizer) for example in firsts]


def _make_prompt(place: str, side: Completion, tokenizer: Any) -> SamplePrompt:
    return SamplePrompt(place, decode_side(tokenizer, side)[0], tuple(side.prompt.tolist()))


def _encode_empty(encoder: Encoder) -> tuple[int, ...]:
    """The tokens of a prompt that says nothing; none where such a row cannot be used anyway."""
    try:
        return tuple(encoder.completion("", SOME_ANSWER).prompt.tolist())
    except UnusableRow:
        return ()


def _encode_all(path: Path, encoder: Encoder, tokenizer: Any) -> Iterator[SamplePrompt]:
    rows = [*(_read_lines(path) if path.suffix.lower() == TEXT else _read_columns(path))]
    if len(rows) > MOST_PROMPTS:
        raise DataError(
            f"{KEY}: {path} has {len(rows)} prompts, and each is answered at every sampling: leave at most {MOST_PROMPTS} in it"
        )
    if not rows:
        raise DataError(f"{KEY}: {path} has no prompt; {REMEDY}")
    for place, prompt in rows:
        try:
            yield _make_prompt(str(place), encoder.completion(prompt, SOME_ANSWER), tokenizer)
        except UnusableRow as reason:
            raise DataError(f"{KEY}: {place}: {reason}; mend that prompt, or take it out") from reason


def _read_lines(path: Path) -> Iterator[tuple[Place, str]]:
    """Yields every line of a text file that is not blank."""
    for number, line in enumerate(read_line_file(path, KEY, MOST_BYTES, "a file of prompts", "one prompt"), 1):
        if line.strip():
            yield Place(path.name, number), line.strip()


def _read_columns(path: Path) -> Iterator[tuple[Place, Any]]:
    """Yields the prompt of each row: a text, or messages."""
    try:
        rows = read_rows(Source(KEY, str(path)))
    except DataError as error:
        raise DataError(f"{KEY}: {error}; {REMEDY}") from error
    for row, place in zip(rows.rows, rows.places):
        if isinstance(row, UnusableRow):
            raise DataError(f"{KEY}: {place}: {row}; {REMEDY}")
        yield place, _read_prompt(row, place)


def _read_prompt(row: Mapping[str, Any], place: Place) -> Any:
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    if isinstance(prompt, list) and prompt and all(_is_message(each) for each in prompt):
        return prompt
    if prompt is None:
        raise DataError(f"{KEY}: {place} has no column prompt, but {', '.join(map(str, row)) or 'nothing'}; {REMEDY}")
    raise DataError(
        f"{KEY}: {place}: prompt is {str(prompt)[:80]!r}; it must be a text, or messages ([{{role: user, content: …}}])"
    )


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)

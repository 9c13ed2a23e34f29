"""Knows the names of columns that are about the row, or hold what is no text.

Their words are listed where nobody reads them, and hinder nothing.
"""

from __future__ import annotations

from prefd.plugins.formats.names import words_of

MEDIA = frozenset(["image", "images", "audio", "audios", "video", "videos", "pixel_values"])
METADATA = frozenset(
    [
        "id",
        "ids",
        "idx",
        "index",
        "uuid",
        "guid",
        "hash",
        "source",
        "sources",
        "dataset",
        "subset",
        "split",
        "model",
        "models",
        "score",
        "scores",
        "rating",
        "ratings",
        "rank",
        "ranks",
        "reward",
        "rewards",
        "label",
        "labels",
        "category",
        "type",
        "lang",
        "language",
        "domain",
        "topic",
        "tag",
        "tags",
        "date",
        "time",
        "timestamp",
        "tstamp",
        "url",
        "link",
        "author",
        "worker",
        "annotator",
        "annotations",
        "batch",
        "version",
        "license",
        "length",
        "len",
        "tokens",
        "num",
        "count",
        "metadata",
        "meta",
        "difficulty",
        "level",
        "judge",
        "status",
        "order",
        "policy",
        "policies",
        "generator",
        "confidence",
        "margin",
        "quality",
        "subreddit",
        "turn",
        "turns",
        "origin",
        "key",
        "extra",
        "strength",
        "preference",
        "helpfulness",
        "correctness",
        "coherence",
        "complexity",
        "verbosity",
    ]
)
"""Words of names whose columns are about the row: they are listed where nobody reads them, and hinder nothing."""


def is_metadata(column: str) -> bool:
    """Says whether any word of a name is one of `METADATA`."""
    return not METADATA.isdisjoint(words_of(column))

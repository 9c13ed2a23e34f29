"""Knows the names of columns that are about the row, or hold what is no text.

Their words are listed where nobody reads them, and hinder nothing.
"""

from __future__ import annotations

from prefd.plugins.formats.names import words_of

MEDIA = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "photo",
        "photos",
        "audio",
        "audios",
        "video",
        "videos",
        "pixel",
        "frames",
    ]
)
"""Words of columns of images, sounds and films."""
PLACES = frozenset(
    [
        "path",
        "paths",
        "file",
        "files",
        "filename",
        "url",
        "urls",
        "uri",
        "name",
        "bytes",
        "base64",
        "data",
        "id",
        "ids",
        "values",
    ]
)
"""Words beside them of where these are, or of what they are stored as."""
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


def is_media(column: str) -> bool:
    """Says whether a column of this name is of images, sounds or films, or says where these are; `image_caption` is text."""
    words = words_of(column)
    others = [word for word in words if word not in MEDIA]
    return len(others) < len(words) and all(word in PLACES or word.isdigit() for word in others)

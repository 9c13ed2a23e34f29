"""Columns of what is no text are known by their names, and by what they hold."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.plugins.formats.contract import check_media
from prefd.plugins.types import UnusableRow

ROW = {"prompt": "q", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image_path", "a.png"),
        ("img", "a.png"),
        ("image_0", "a.png"),
        ("image_url", "http://x/1"),
        ("audio_paths", ["a.wav"]),
        ("Video", "a.mp4"),
        ("pixel_values", [[0.5]]),
        ("anything", "data:image/png;base64,iVBOR"),
        ("anything", ["data:audio/wav;base64,iVBOR"]),
    ],
)
def test_such_a_row_is_refused_with_what_leaves_the_column_out(column: str, value: Any) -> None:
    with pytest.raises(UnusableRow) as refused:
        check_media(ROW | {column: value})
    assert str(refused.value) == (
        f"the column {column!r} is no text: prefd trains on text; where the rows make sense without it, leave it out "
        f"(data.ignore_columns: [{column}])"
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image_caption", "A cat."),
        ("images", []),
        ("image_path", None),
        ("video_description", "A cat."),
        ("url", "a.png"),
    ],
)
def test_text_about_it_and_nothing_are_no_media(column: str, value: Any) -> None:
    """Nothing is raised."""
    check_media(ROW | {column: value})

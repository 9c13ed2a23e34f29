"""pip's build of prefd: setuptools', with the page built before it (PEP 517's hooks, called by pip, uv and `python -m build`).

A wheel therefore holds the page, on every machine that builds it. Where there is no Node.js, pip is asked for one that lives in the build's own
environment and leaves with it. Where npm's registry cannot be reached, prefd is built without its page, and says so; with
PREFD_WEB=required that is an error, and with PREFD_WEB=off the page is left out on purpose.
"""

from __future__ import annotations

from typing import Any

import page_build
from setuptools import build_meta

Settings = dict[str, Any] | None


prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *page_build.list_requirements()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(config_settings), *page_build.list_requirements()]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_sdist(config_settings), *page_build.list_requirements()]


def build_wheel(folder: str, config_settings: Settings = None, metadata_folder: str | None = None) -> str:
    page_build.build_if_possible()
    return build_meta.build_wheel(folder, config_settings, metadata_folder)


def build_editable(folder: str, config_settings: Settings = None, metadata_folder: str | None = None) -> str:
    page_build.build_if_possible()
    return build_meta.build_editable(folder, config_settings, metadata_folder)


def build_sdist(folder: str, config_settings: Settings = None) -> str:
    page_build.build_if_possible()
    return build_meta.build_sdist(folder, config_settings)

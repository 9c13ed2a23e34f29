r"""Explains paths that mean something elsewhere: to a shell (`$HOME`), to Windows (`C:\…`), to a browser (`file://`), or to nobody (`~nobody`).

Nothing is expanded but `~`: the daemon that would read a variable has another environment than the spec's author.
"""

from __future__ import annotations

import os
import pwd
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from prefd.daemon.specs.data_sources import SourceSpec
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.path_or_hub_id import resolve_path
from prefd.daemon.text.parser_remedies import BACKSLASH
from prefd.daemon.text.wording import clip

USER = re.compile(r"~(?P<name>[^/\\]+)")
VARIABLE = re.compile(r"\$env:\w+|\$\w+|\$\{[^}]*\}|\$\([^)]*\)")
WINDOWS_VARIABLE = re.compile(r"%\w+%")
DRIVE = re.compile(r"(?P<letter>[A-Za-z]):[\\/](?P<rest>.*)", re.DOTALL)
SHARE = re.compile(r"\\\\(?P<server>[^\\]+)\\.*", re.DOTALL)
HUB_PAGE = re.compile(
    r"(hf://|https?://(www\.)?(huggingface\.co|hf\.co)/)(datasets/)?(?P<id>[\w.-]+/[\w.-]+)(?P<rest>/.*)?"
)
FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
"""Ways to spell a letter with an accent: in one character, as most do, and in two, as macOS's older disks do."""
QUOTED = re.compile(r"""(["'])(?P<path>.+)\1""")


def explain_foreign_paths(spec: JobSpec, folder: Path) -> dict[str, str]:
    """Maps each field of an unresolved spec whose path cannot be meant as it stands to the reason, and the remedy."""
    reasons = ((field, explain_foreign_path(value, folder)) for field, value in _iterate_paths(spec))
    return {field: reason for field, reason in reasons if reason is not None}


def explain_foreign_path(value: str, folder: Path) -> str | None:
    """Says what is wrong with a path as it stands in a spec; None where it is there, or may be one."""
    if "\n" in value or "\t" in value or "\r" in value:
        return f"{clip(value)!r} has a line break or a tab in it; {BACKSLASH}"
    if os.path.exists(resolve_path(value, folder)):
        return None
    for form in FORMS:
        other = unicodedata.normalize(form, value)
        if other != value and os.path.exists(resolve_path(other, folder)):
            return f"{clip(value, 300)} is there only with its accents in another spelling (Unicode's {form}): copy its name from `ls`"
    shown = clip(value, 300)
    if value != value.strip():
        return f"{shown!r} begins or ends with a blank: take it out"
    if match := QUOTED.fullmatch(value):
        return f"the quotes of {shown} are part of it: write {clip(match['path'], 300)}"
    if reason := _explain_variable(value, shown):
        return reason
    return _explain_windows(value, shown) or _explain_address(value, shown)


def _explain_variable(value: str, shown: str) -> str | None:
    if match := USER.match(value):
        return f"{shown}: there is no user {clip(match['name'])}" if not _is_user(match["name"]) else None
    variable = VARIABLE.search(value) or WINDOWS_VARIABLE.search(value)
    if variable is None:
        return None
    meant = "~" if variable[0] in ("$HOME", "${HOME}", "%USERPROFILE%", "%HOMEPATH%", "$env:USERPROFILE") else ""
    remedy = (
        f"write {clip(value.replace(variable[0], meant), 300)}, or the path itself"
        if meant
        else "write the path itself"
    )
    return f"{shown}: variables such as {clip(variable[0])} are not expanded: {remedy.replace(chr(92), '/')}"


def _explain_windows(value: str, shown: str) -> str | None:
    if match := DRIVE.fullmatch(value):
        mounted = f"/mnt/{match['letter'].lower()}/{match['rest']}".replace("\\", "/")
        return (
            f"{shown} is a path of Windows, and prefd runs elsewhere: give the path here (in WSL {clip(mounted, 300)})"
        )
    if match := SHARE.fullmatch(value):
        server = clip(match["server"])
        return f"{shown} is a share of Windows: mount it, and give the path of the mount ({server} is not reached by its name)"
    if "\\" in value:
        return f"no such file or folder: {shown}: write / in place of \\ ({clip(value.replace(chr(92), '/'), 300)})"
    return None


def _explain_address(value: str, shown: str) -> str | None:
    if match := HUB_PAGE.fullmatch(value):
        tail = "" if match["rest"] in (None, "/") else "; a file of it is downloaded by hand"
        return f"{shown} is a page of the hub: write {match['id']}{tail}"
    scheme, separator, _ = value.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        return None
    if scheme.lower() == "file":
        return f"{shown} is an address: write the path alone, {clip(unquote(urlsplit(value).path), 300)}"
    return f"{shown} is an address, and prefd reads files and the hub: download it, and name the file"


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _iterate_paths(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Yields each setting of a spec that may be a path, by its place."""
    yield "model", spec.model
    if spec.adapter is not None:
        yield "adapter", spec.adapter
    if spec.named_reference is not None:
        yield "reference.model", spec.named_reference.model
        if spec.named_reference.adapter is not None:
            yield "reference.adapter", spec.named_reference.adapter
    if isinstance(spec.data.path, str):
        yield "data.path", spec.data.path
    else:
        for index, entry in enumerate(spec.data.path):
            yield f"data.path[{index}]", entry.path if isinstance(entry, SourceSpec) else entry
    if isinstance(spec.data.validation, str):
        yield "data.validation", spec.data.validation
    if spec.data.exclude is not None:
        yield "data.exclude", spec.data.exclude
    if spec.prompts_file is not None:
        yield "eval_samples.prompts", spec.prompts_file

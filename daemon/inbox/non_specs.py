"""`explain_name` and `explain_start` say what a file in the watched folder is, where it is no spec: by its name, and by its first bytes.

KINDS is the one table of the names that sync clients, editors, transfers, desktops and people leave in a folder. Nothing in it is
claimed. What a program makes for itself is passed over in silence; what a person should know of has a reason, which the log tells
once and `prefd status` shows. Whatever has no spec's suffix is told too: nothing is taken from under its writer for being unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from prefd.daemon.machine.cloud import IN_CLOUD
from prefd.daemon.text.parse import PARSERS

SUFFIXES = tuple(PARSERS)
START_BYTES = 65_536
"""How much of a `.json` file is looked at to tell rows from a spec."""


@dataclass(frozen=True)
class Kind:
    """Kind is a kind of name. `reason`: what a person is told of such a file, behind its name; "" where there is nothing to tell."""

    patterns: Sequence[str]
    reason: str = ""


CONFLICT = "looks like the copy that {} makes of a file which was changed in two places, and is left alone: rename it if it is to be a job"
DATA = "is data, and is left alone: a spec names it as data.path"

KINDS: Sequence[Kind] = (
    # What iCloud leaves in the place of a spec whose contents it has taken off the disk, on macOS 13 and older.
    Kind((rf"\..+({'|'.join(map(re.escape, SUFFIXES))})\.icloud",), f"stands for a spec that {IN_CLOUD}"),
    # What editors write beside a file: vim, emacs, nano, JetBrains, Kate, gedit, sed, patch, and programs in macOS's sandbox.
    Kind((r"\..*", r".*~", r"#.*#", r".*\.sw[a-px]", r".*\.save(\.\d+)?", r".*___jb_(tmp|old|bak)___", r".*\.sb-[0-9a-f]{8}-\w{6}", r"\d{4,6}")),
    Kind((r".*\.(tmp|temp|bak|orig|old|rej|lock|lck|kate-swp|vsctmp)", r".*\.tmp[-.][\w.-]+", r"sed\w{6}")),
    # What browsers, transfers and sync clients call a file that is not whole: WinSCP, Firefox, Chrome, Safari, Opera, aria2, Resilio.
    Kind((r".*\.(filepart|part|partial|download|crdownload|opdownload|aria2|bts|!\w{2,4}|unfinished|incomplete)",)),
    Kind((r"~syncthing~.*", r"~\$.*", r".*\.syncthing\.tmp")),
    # What desktops and network storage make in every folder: Windows, macOS, Synology, QNAP, Linux.
    Kind((r"desktop\.ini", r"(eh)?thumbs\.db", "icon\r", r"folder\.jpg", r"albumart.*\.jpg", r"__macosx")),
    Kind((r"@eadir", r"@tmp", r"@recycle", r"#recycle", r"#snapshot", r"\$recycle\.bin", r"system volume information")),
    Kind((r"lost\+found",)),
    # Copies of one file that was changed in two places.
    Kind((r".*\.sync-conflict-\d{8}-\d{6}.*",), CONFLICT.format("Syncthing")),
    Kind((r".*\(.*(conflicted copy|case conflict|unicode encoding conflict).*\).*",), CONFLICT.format("Dropbox or Nextcloud")),
    Kind((r".*\((.* )?(kopie in konflikt|in konflikt stehende kopie|copie en conflit|copia en conflicto|copia in conflitto)\b.*\).*",), CONFLICT.format("Dropbox")),
    Kind((r".*_conflict-\d{8}-\d{6}.*",), CONFLICT.format("ownCloud")),
    Kind((r"(?-i:.*-(DESKTOP|LAPTOP|WIN)-[A-Z0-9]{6,}(-\d+)?\.\w+)",), CONFLICT.format("OneDrive")),
    Kind((r".*\(sfconflict .*\).*",), CONFLICT.format("Seafile")),
    Kind((r".*[(\[](.* )?conflict(ed)?\b.*[)\]].*", r".*\.conflict(ed)?\d*\.\w+", r".*-\d{4}_conflict\.\w+"), CONFLICT.format("a sync client")),
    Kind((r"(?-i:.*[._](BACKUP|BASE|LOCAL|REMOTE)[._]\d{2,}\.\w+)",), CONFLICT.format("git mergetool")),
    # What people put beside a spec.
    Kind((r".*\.(jsonl|ndjson|json-?lines|parquet|csv|tsv|arrow|feather|xlsx?|ods|sqlite3?|db)",), DATA),
    Kind((r".*\.(jsonl|ndjson|json|csv|tsv|txt|parquet)\.(gz|bz2|xz|zst|zip)",), DATA),
    Kind(
        (r".*\.(zip|tar|gz|tgz|bz2|xz|zst|7z|rar)",),
        "is an archive, and is left alone: unpack it elsewhere, and drop the specs in it",
    ),
    Kind(
        (r".*\.(safetensors|gguf|bin|pt|pth|ckpt|npz|npy|onnx)",),
        "is a model's, and is left alone: a spec names its folder as model",
    ),
    Kind((r"readme|licen[cs]e|changelog|makefile", r".*\.(md|rst|pdf|docx?|html?)"), "is no spec, and is left alone"),
)  # fmt: skip
_COMPILED = [(re.compile("|".join(kind.patterns), re.IGNORECASE | re.DOTALL), kind) for kind in KINDS]
_NUMBERED = re.compile(r"(?P<stem>.+?)( ?\(\d{1,3}\)| [2-9])(?P<suffix>\.\w+)")
_DECORATED = re.compile(rf"(?P<name>.+({'|'.join(map(re.escape, SUFFIXES))}))\W.*", re.IGNORECASE | re.DOTALL)
"""A spec's name with something behind it: an editor's `ipo.yaml.txt`, a download's `ipo.yaml?raw=true`, a blank."""
_ROWS = re.compile(r"""\s*\[|\s*\{(?:[^{}]|\{[^{}]*\})*?"(?:chosen|rejected|chosen_response|completion)"\s*:""")


def explain_name(name: str) -> str | None:
    """Say why a file of this name is no job, "" where nobody need know; None where it may be a spec."""
    for pattern, kind in _COMPILED:
        if pattern.fullmatch(name):
            return kind.reason
    path = PurePath(name)
    if path.suffix.lower() in SUFFIXES:
        return None
    if match := _DECORATED.fullmatch(name):
        return f"is no spec by its name, and is left alone: call it {match['name']} if it is one"
    return f"is no spec by its name, and is left alone: a spec's ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def find_original(name: str) -> str | None:
    """Name the file that `ipo (1).yaml` may be a second copy of, as Google Drive, iCloud and browsers number them; None for another name."""
    match = _NUMBERED.fullmatch(name)
    return match["stem"] + match["suffix"] if match else None


def explain_copy(original: str) -> str:
    """Say why a numbered copy of a file that was dropped is no job."""
    return f"looks like a second copy of {original}, which was dropped too, and is left alone: rename it if it is to be a job"


def explain_start(name: str, start: bytes) -> str | None:
    """Say why a file that begins with `start` is no spec; None where it may be one. Rows in a `.json` file are data."""
    if not name.lower().endswith(".json"):
        return None
    return DATA if _ROWS.match(start.decode("utf-8-sig", "replace")) else None


def choose_spec_name(stem: str) -> str:
    """Return the name under which a spec is put into the folder: `stem` with `.json`, or one that cannot be taken for a leaving."""
    name = f"{stem}.json"
    if explain_name(name) is None and find_original(name) is None:
        return name
    plain = re.sub(r"\W+", "-", stem).strip("-_") or "job"
    return f"{plain}.json" if explain_name(f"{plain}.json") is None else "job.json"

"""HubUpload is what of a trained job goes to the Hugging Face hub, and how it gets there: one commit, or none.

A path of this machine in an adapter's config goes there as its last name, for it means nothing elsewhere and is nobody's business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefd.daemon.errors import PrefdError
from prefd.daemon.jobs.details import JobDetails
from prefd.daemon.jobs.model_card import name_source, write_card
from prefd.daemon.machine.files import read_json

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PARTS = ("adapter", "fused", "peft", "gguf")
CONFIG = "adapter_config.json"
BASE_KEYS = ("model", "base_model_name_or_path")
"""Where an adapter's config names its base."""
TIMEOUT_S = 30.0


class NotUploaded(PrefdError):
    """Raised where nothing was uploaded. For the job's owner: what is in the way, and what to do."""


@dataclass(frozen=True)
class UploadFile:
    """UploadFile is one file, by its path in the repository, and where its content is."""

    name: str
    content: Path | bytes

    @property
    def bytes(self) -> int:
        """Return its size."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class HubUpload:
    """HubUpload holds the files that go to the repository `repo`."""

    repo: str
    files: Sequence[UploadFile]
    private: bool
    message: str

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(file.bytes for file in self.files)

    def send(self, api: HfApi) -> str:
        """Upload the files in one commit, to a repository that is made where there is none, and return its address.

        Raises `NotUploaded`.
        """
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalTokenNotFoundError,
            OfflineModeIsEnabled,
        )

        try:
            api.create_repo(self.repo, private=self.private, exist_ok=True)
            if self.private and not api.model_info(self.repo, timeout=TIMEOUT_S).private:
                raise NotUploaded(f"{self.repo} is there already and is public: --public says that this is meant")
            operations = [CommitOperationAdd(file.name, file.content) for file in self.files]
            commit = api.create_commit(self.repo, operations, commit_message=self.message)
        except LocalTokenNotFoundError as error:
            raise NotUploaded("you are not logged in to the hub: `hf auth login`, or set HF_TOKEN") from error
        except OfflineModeIsEnabled as error:
            raise NotUploaded("HF_HUB_OFFLINE is set, so nothing is sent: unset it") from error
        except HFValidationError as error:
            raise NotUploaded(f"{self.repo} is no name of a repository; write it as user/name: {error}") from error
        except HfHubHTTPError as error:
            raise NotUploaded(_explain_refusal(self.repo, error)) from error
        except NotUploaded:
            raise
        except Exception as error:  # of whichever HTTP client the library has, or a file's
            raise NotUploaded(f"the hub cannot be reached, or a file not be read: {error}") from error
        return str(commit.commit_url)


def plan_upload(details: JobDetails, repo: str, parts: Sequence[str], private: bool) -> HubUpload:
    """Plan which files go where: one part to the top of the repository, several to a folder each; with a card.

    Raises `NotUploaded` where the job left no such part.
    """
    job = details.job
    if job.state != "done" or details.lost:
        raise NotUploaded(
            f"job {job.id} ({job.name}) is {job.state}: {details.lost or 'what it leaves is uploaded when it is done'}"
        )
    if details.spec is None or "adapter" not in details.outputs:
        raise NotUploaded(
            f"job {job.id} ({job.name}) left nothing to upload: it trained nothing, or its files were removed"
        )
    files: list[UploadFile] = []
    for part in parts:
        folder = details.folder / part
        paths = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
        if not paths:
            raise NotUploaded(f"job {job.id} ({job.name}) has no {part}/; {_describe_remedy(part, job.id)}")
        files += [_make_file(path, "" if len(parts) == 1 else f"{part}/") for path in paths if path.name != "README.md"]
    card = UploadFile("README.md", write_card(details, parts).encode())
    return HubUpload(repo, [card, *files], private, f"{job.name}: {', '.join(parts)}")


def _make_file(path: Path, prefix: str) -> UploadFile:
    document: Any = read_json(path) if path.name == CONFIG else None
    if not isinstance(document, dict):
        return UploadFile(prefix + path.name, path)
    named = {key: name_source(document[key]) for key in BASE_KEYS if isinstance(document.get(key), str)}
    return UploadFile(prefix + path.name, json.dumps(document | named, indent=4, sort_keys=True).encode())


def _describe_remedy(part: str, job_id: int) -> str:
    if part == "gguf":
        return f"`prefd gguf {job_id}` writes it"
    if part == "adapter":
        return "its files were removed, so train it again (`prefd retry --fresh`), or name another part"
    return (
        "add output: {"
        + {"fused": "fuse"}.get(part, part)
        + ": true} to its spec and train again, or name another part"
    )


def _explain_refusal(repo: str, error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = " ".join(str(getattr(error, "server_message", None) or error).split())[:300]
    if status in (401, 403):
        return (
            f"the hub does not let you write to {repo}: {reason}; log in with a token that may write (`hf auth login`)"
        )
    return f"the hub has refused the upload to {repo}: {reason}"

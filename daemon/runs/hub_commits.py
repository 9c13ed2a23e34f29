"""`find_commit` asks the hub for a dataset's commit when a job is claimed, so that all of its runs read the same rows."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

HUB_SECONDS = 4.0
"""A claim waits no longer for the hub."""
KEPT_SECONDS = 60.0
"""An answer holds for so long, so the jobs of a sweep read one commit. A failure holds as long, so claims do not wait."""

_answers: dict[tuple[str, str | None], tuple[float, str | None]] = {}
_silent_until = 0.0


def find_commit(dataset: str, revision: str | None) -> str | None:
    """Return the commit that `revision` (the newest, where it is None) names now; None where the hub does not say."""
    global _silent_until
    now = time.monotonic()
    until, commit = _answers.get((dataset, revision), (_silent_until, None))
    if now < until:
        return commit
    try:
        commit = _ask(dataset, revision)
    except Exception as error:  # noqa: BLE001  # of whichever HTTP client the library has, or HF_HUB_OFFLINE
        log.info("the hub does not say which commit of %s is meant: %s", dataset, error)
        _silent_until = time.monotonic() + KEPT_SECONDS
        return None
    _answers[dataset, revision] = (time.monotonic() + KEPT_SECONDS, commit)
    return commit


def _ask(dataset: str, revision: str | None) -> str | None:
    from huggingface_hub import HfApi  # 30 MB, and most specs name files
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return HfApi().dataset_info(dataset, revision=revision, timeout=HUB_SECONDS).sha
    except (HfHubHTTPError, HFValidationError) as error:  # it answered; the job's worker reports what is wrong
        log.debug("%s: %s", dataset, error)
        return None

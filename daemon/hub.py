"""Which commit of a hub dataset is meant: asked when a job is claimed, so that all of its runs read the same rows."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

HUB_SECONDS = 4.0
"""A claim waits no longer for the hub."""
SILENT_SECONDS = 60.0
"""A hub that could not be reached is left alone for so long: one without a network holds up no burst of claims."""

_silent_until = 0.0


def commit_of(dataset: str, revision: str | None) -> str | None:
    """The commit that `revision` (the newest, where it is None) names now; None where the hub does not say."""
    global _silent_until
    if time.monotonic() < _silent_until:
        return None
    from huggingface_hub import HfApi  # 30 MB, and most specs name files
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return HfApi().dataset_info(dataset, revision=revision, timeout=HUB_SECONDS).sha
    except (HfHubHTTPError, HFValidationError) as error:  # it answered; what is wrong, the job's worker says
        log.debug("%s: %s", dataset, error)
    except Exception as error:  # noqa: BLE001  # of whichever HTTP client the library has, or HF_HUB_OFFLINE
        log.info("the hub does not say which commit of %s is the newest: %s", dataset, error)
        _silent_until = time.monotonic() + SILENT_SECONDS
    return None

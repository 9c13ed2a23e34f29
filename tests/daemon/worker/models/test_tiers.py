"""Batches are sized by the kind of device where nothing else says how large they are to be."""

from __future__ import annotations

import pytest

from prefd.daemon.worker.models import loading, tiers
from prefd.daemon.worker.models.tiers import choose_tier, find_tier
from prefd.daemon.worker.reference import scoring_pass
from prefd.daemon.worker.training import batch_settings


@pytest.mark.parametrize(
    ("is_metal", "name", "tier"),
    [
        (True, "Apple M2", "metal"),
        (True, "Apple M4 Pro", "metal"),
        (True, "Apple M1 Max", "large metal"),
        (True, "Apple M3 Ultra", "large metal"),
        (True, "", "metal"),
        (False, "NVIDIA H200", "cuda"),
        (False, "NVIDIA GeForce RTX 4070 Ti Max-Q", "cuda"),
    ],
)
def test_a_device_is_told_by_its_name(is_metal: bool, name: str, tier: str):
    assert choose_tier(is_metal, name) == tier
    assert tier in batch_settings.BATCH_TOKENS
    assert tier in batch_settings.SATURATING_TOKENS
    assert tier in scoring_pass.BATCH_TOKENS


def test_a_cpu_is_a_cpu_and_a_gpu_is_asked_for_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "device", lambda: "cpu")
    assert find_tier() == "cpu"
    monkeypatch.setattr(loading, "device", lambda: "gpu")
    monkeypatch.setattr(tiers.mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(tiers.mx, "device_info", lambda: {"device_name": "Apple M2 Max"})
    assert find_tier() == "large metal"

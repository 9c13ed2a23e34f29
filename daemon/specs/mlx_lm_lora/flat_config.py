"""Translates a flat config of mlx-lm-lora (5.10.2) into a job spec, before anything is validated.

What decides the result and is left out takes the default it has there. What has no meaning here is passed over with a
note; what would change the result and cannot be done is a fault. Faults that are found later are reported by the name in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from prefd.daemon.specs.mlx_lm_lora.references import set_adapter, set_loss, set_reference, set_validation
from prefd.daemon.specs.mlx_lm_lora.settings import (
    ALIASES,
    AS_WRITTEN,
    DEFAULTS,
    IGNORED,
    KNOWN,
    MARKS,
    REFUSED,
)
from prefd.daemon.specs.mlx_lm_lora.training import (
    set_chunk_tokens,
    set_fuse,
    set_length,
    set_lora,
    set_optimizer,
    set_qat,
    set_quantization,
    set_schedule,
)
from prefd.daemon.specs.mlx_lm_lora.translation import PLACE, Translation
from prefd.daemon.text.foreign_settings import translate_setting
from prefd.daemon.text.wording import clip, find_nearest


def is_flat(value: Mapping[str, Any]) -> bool:
    """Returns whether a file's top level is mlx-lm-lora's: it names a train_mode, or has its settings and none of our blocks."""
    if "train_mode" in value:
        return True
    return (
        isinstance(value.get("data"), str)
        and not MARKS.isdisjoint(value)
        and value.keys().isdisjoint({"loss", "training"})
    )


def translate(value: Mapping[str, Any], folder: FilePath | None = None) -> Translation:
    """Translates the flat config `value` to a spec. `folder`: where its relative paths start; None: do not look at them."""
    settings = {ALIASES.get(name, name): each for name, each in value.items() if each is not None}
    translation = Translation(spellings={name: alias for alias, name in ALIASES.items() if alias in value})
    for alias, name in ALIASES.items():
        if alias in value and name in value:
            translation.faults.append((alias, f"is {name} by another name; give one of them"))
    for name in AS_WRITTEN:
        if name in settings:
            translation.put(name, settings[name])
    for name, default in DEFAULTS.items():
        if name not in settings:
            translation.put(name, default)
            translation.assumed.append(f"{name} {default}")
    set_loss(translation, settings)
    set_lora(translation, settings)
    set_quantization(translation, settings)
    set_optimizer(translation, settings)
    set_schedule(translation, settings)
    set_qat(translation, settings)
    set_chunk_tokens(translation, settings)
    set_fuse(translation, settings)
    set_length(translation, settings)
    set_adapter(translation, settings)
    set_reference(translation, settings)
    set_validation(translation, settings, folder)
    report_others(translation, settings, value)
    return translation


def report_others(translation: Translation, settings: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Notes the settings that are passed over, and reports those that cannot be honoured or that nobody knows."""
    if "train" in settings and not translation.read_switch(settings, "train", default=True):
        translation.faults.append(("train", "false asks for a test pass alone; prefd trains: leave it out"))
    for name, reason in IGNORED.items():
        if settings.get(name, False) is not False:
            translation.notes.append(f"ignored: {name}, because {reason}")
    for name, reason in REFUSED.items():
        if settings.get(name, False) is not False:
            translation.faults.append((name, f"cannot be honoured: {reason}"))
    for name in value:
        if name not in KNOWN:
            match = find_nearest(name, KNOWN)
            hint = f"did you mean {match}?" if match else _explain_unknown_key(translation, name)
            translation.faults.append((clip(name), f"unknown key; {hint}"))
    if translation.assumed:
        translation.notes.append(f"not in the file, so as in mlx-lm-lora: {', '.join(translation.assumed)}")


def _explain_unknown_key(translation: Translation, name: str) -> str:
    """Explains a setting that mlx-lm-lora has not, by the names of the file where all of it has one there."""
    advice = PLACE.sub(lambda match: translation.find_name(match[0]), translate_setting(name) or "")
    return advice if advice and not PLACE.search(advice) else "mlx-lm-lora has no such setting"

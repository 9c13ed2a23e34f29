"""Suggests what an unknown loss may be: methods have names that look like those of other methods.

`dpo` differs from `dpop` by a letter, and training with it by a penalty of 50 nats a nat. So a name is only taken for a
slip of another where no part of it is an acronym; what is known of other methods is in a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from prefd.daemon.text.wording import find_nearest

ACRONYM = re.compile(r"[a-z]{0,4}(po|to|slic|sft|nca|aot)")
"""DPO, KTO, SimPO: a letter more or less is another method."""
IS_CALLED: Mapping[str, str] = {
    "dpo": "DPO's loss is `sigmoid`",
    "cdpo": "conservative DPO is `sigmoid` with label_smoothing",
    "dpo_sigmoid": "DPO's loss is `sigmoid`",
    "dpo_hinge": "DPO's hinge loss is `hinge`",
    "dpo_ipo": "IPO's loss is `ipo`",
    "dpo_dpop": "DPO-Positive is `dpop`",
    "cpo_sigmoid": "CPO's loss is `cpo`",
    "cpo_simpo": "CPO-SimPO is `simpo` with nll_weight",
    "nll": "the likelihood of the chosen answer is `sft`",
    "cross_entropy": "the likelihood of the chosen answer is `sft`",
}
IN_TRL_PLUGIN = {
    *("robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down"),
    *("discopop", "sigmoid_norm", "ld_sigmoid", "sigmoid_forward_kl", "sigmoid_js", "sigmoid_alpha", "orpo", "alphapo"),
    "apo_zero_unpaired",
}
NOT_HERE: Mapping[str, str] = {
    **dict.fromkeys(("slic", "rrhf", "rso", "betadpo", "tdpo", "spin"), "is not one of prefd's losses"),
    **dict.fromkeys(
        ("rdpo", "r_dpo"),
        "is two methods (robust DPO, and DPO with a penalty on length), and neither is one of prefd's losses",
    ),
    **dict.fromkeys(
        ("ppo", "grpo", "gspo", "dapo", "rloo", "reinforce", "rlhf_reinforce", "online_dpo", "xpo", "nash_md"),
        "generates answers as it trains, and prefd trains on pairs that are there",
    ),
}


def suggest_loss(name: str, loss_names: Iterable[str]) -> str:
    """Says what a loss `name` that is none of `loss_names` may be, as a clause; empty where nothing is known of it."""
    plain = name.lower().replace("-", "_").strip("_")
    names = {each.lower(): each for each in loss_names}
    if plain in names:
        return f"did you mean {names[plain]}?"
    if hint := IS_CALLED.get(plain):
        return hint
    if plain in IN_TRL_PLUGIN:
        return f"contrib/prefd-trl-losses, a plugin, brings {plain}"
    if hint := NOT_HERE.get(plain):
        return f"{name.upper()} {hint}"
    match = find_nearest(plain, names)
    if match is None or _changed_acronym(plain, match):
        return ""
    return f"did you mean {names[match]}?"


def _changed_acronym(name: str, other: str) -> bool:
    changed = set(name.split("_")) ^ set(other.split("_"))
    return any(ACRONYM.fullmatch(part) for part in changed)


def explain_unknown_loss(name: str, loss_names: Iterable[str], plugin_errors: Mapping[str, str]) -> list[str]:
    """Says that no loss is called `name`, what may be meant, and which plugins could not be loaded that may bring it."""
    return [
        f"no loss is called {name!r}",
        *filter(None, [suggest_loss(name, loss_names)]),
        f"there are: {', '.join(sorted(loss_names))}",
        *(f"plugin {plugin} could not be loaded: {error}" for plugin, error in plugin_errors.items()),
    ]

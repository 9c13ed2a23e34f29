"""What is said of a loss that there is not: never the name of another method."""

from __future__ import annotations

import pytest

from prefd.daemon.text.unknown_losses import suggest_loss

KNOWN = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop", "simpo", "sft", "halves"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dpo", "DPO's loss is `sigmoid`"),
        ("DPO", "DPO's loss is `sigmoid`"),
        ("cdpo", "conservative DPO is `sigmoid` with label_smoothing"),
        ("orpo", "contrib/prefd-trl-losses, a plugin, brings orpo"),
        ("slic", "SLIC is not one of prefd's losses"),
        ("cpo_simpo", "CPO-SimPO is `simpo` with nll_weight"),
        ("grpo", "GRPO generates answers as it trains, and prefd trains on pairs that are there"),
        ("robust", "contrib/prefd-trl-losses, a plugin, brings robust"),
        ("ld-sigmoid", "contrib/prefd-trl-losses, a plugin, brings ld_sigmoid"),
        ("Sigmoid", "did you mean sigmoid?"),
        ("cpo-hinge", "did you mean cpo_hinge?"),
        ("sigmiod", "did you mean sigmoid?"),
        ("halvs", "did you mean halves?"),
        ("cpo_hing", "did you mean cpo_hinge?"),
        ("epo", ""),
        ("tpo", ""),
        ("dppo", ""),
        ("simdpo", ""),
        ("cpo_dpo", ""),
        ("dpo_hing", ""),
        ("kto_pair", ""),
        ("", ""),
    ],
)
def test_a_slip_is_mended_and_another_method_is_not_renamed(name: str, message: str) -> None:
    assert suggest_loss(name, KNOWN) == message


def test_rdpo_is_named_as_the_two_methods_that_it_is() -> None:
    assert suggest_loss("rdpo", KNOWN).startswith("RDPO is two methods")

"""An answer ends with the token that ends a turn, once, by the tokenizer that a job has."""

from __future__ import annotations

from pathlib import Path

import mlx_lm
import pytest

from prefd.daemon.worker.data.tokens import Encoder
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.plugins.types import Pair
from support import tiny_model
from support.chat_templates import END, EOS
from support.encoded_pairs import Load, encoded, reason


class TestEndOfTurn:
    @pytest.mark.parametrize("where", ["config", "generation"])
    @pytest.mark.parametrize("ending", ["stone", f"stone{END}", f"stone{END}\n", f"stone{END}\n{EOS}"])
    def test_an_answer_ends_with_what_ends_a_turn_once(self, load: Load, where: str, ending: str) -> None:
        ids = (
            {"eos_token_id": [0, 2]}
            if where == "config"
            else {"eos_token_id": 0, "generation": {"eos_token_id": [0, 2]}}
        )
        tokenizer = load(eos_token=EOS, **ids)
        side = Encoder(tokenizer, 100).encode(Pair("q", ending, "b"), 1).chosen
        stone = tokenizer.encode("stone", add_special_tokens=False)
        assert side.ids[side.start :].tolist() == [*stone, 2]

    def test_the_eos_ids_are_those_of_mlx_lm(self, tmp_path: Path) -> None:
        folder = tiny_model.build_chat(tmp_path, tiny_model.CHATML, [0, 2], eos_token=EOS)
        assert (
            loading.tokenizer(ModelSource(str(folder))).eos_token_ids
            == mlx_lm.load(str(folder))[1].eos_token_ids
            == {0, 2}
        )

    def test_one_of_the_configs_inside_an_answer_is_refused(self, load: Load) -> None:
        tokenizer = load(eos_token_id=[0, 2], eos_token=EOS)
        assert reason(tokenizer, Pair("q", f"a{END}\nb", "c")) == "an EOS inside the answer"

    def test_an_end_that_no_config_knows_is_told_of(self, load: Load) -> None:
        (_, side), notes = encoded(load(eos_token_id=0, eos_token=EOS), Pair("q", "a", "b"))
        assert side == f"a{END}\n{EOS}"
        assert notes == [
            (
                f"the chat template ends an answer with '{END}', which is no EOS of the model's: answers end with another token "
                "behind it; add it to eos_token_id in the model's generation_config.json"
            )
        ]

    def test_a_config_alone_may_name_it(self, load: Load) -> None:
        assert encoded(load(eos_token_id=2, eos_token=None), Pair("q", "a", "b"))[0][1] == f"a{END}"

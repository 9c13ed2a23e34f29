"""What is told of pairs whose prompt and answer do not go together."""

from __future__ import annotations

from prefd.daemon.worker.data.tokens import Encoder
from prefd.plugins.types import Pair
from support.chat_templates import END, START, THINKS, answer, user
from support.encoded_pairs import Load, encoded

# The system's words stand in the last user turn, and where an answer follows none is the last: Mistral's of version 3.
SYSTEM_LAST = (
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.s = m.content + '\n\n' %}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + (ns.s if loop.last else '') + m.content + '[/INST]' }}{% else %}"
    "{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)


class TestRemarks:
    def test_sides_that_repeat_their_prompt(self, load: Load) -> None:
        notes = encoded(load(), Pair("Greet me.", "Greet me. Hello", [answer("Greet me.\nGo")]))[1]
        assert notes == [
            (
                "1 pair whose sides both begin with their prompt, which the model would learn to repeat: take it out of chosen "
                "and rejected"
            )
        ]

    def test_one_side_that_repeats_the_prompt(self, load: Load) -> None:
        expected = (
            "1 pair of which one side begins with its prompt and the other does not, which the model would learn of the two: "
            "take it out"
        )
        assert encoded(load(), Pair("Greet me.", "Greet me. Hello", "Go"))[1] == [expected]
        assert encoded(load(), Pair("Greet me.", "Hello", [answer("Greet me. Go")]))[1] == [expected]
        assert encoded(load(), Pair("Greet", "Greet him", "Go"))[1] == []

    def test_what_a_template_puts_before_an_answer_is_there_whatever_else_it_changes(self, load: Load) -> None:
        tokenizer = load(SYSTEM_LAST)
        system = {"role": "system", "content": "Be kind."}
        for question in ("q", "Greet me, will you?"):
            pair = Pair([user(question)], [answer("yes")], [answer("no")])
            rewritten = Pair([system, user(question)], [answer("yes")], [answer("no")])
            assert encoded(tokenizer, pair)[0] == (f"[INST] {question}[/INST]", f" yes{END}")
            texts, notes = encoded(tokenizer, rewritten)
            assert texts == (f"[INST] Be kind.\n\n{question}[/INST]", f" yes{END}")
            assert notes[0].startswith("1 pair whose prompt the chat template writes otherwise")

    def test_an_answer_behind_an_answer(self, load: Load) -> None:
        (prompt, side), notes = encoded(load(), Pair([user("q"), answer("The")], [answer("a")], [answer("b")]))
        assert prompt == f"{START}user\nq{END}\n{START}assistant\nThe{END}\n{START}assistant\n"
        assert side == f"a{END}"
        assert notes == [
            "1 pair whose prompt ends with an assistant's turn: the answer is another turn behind it, and not its end"
        ]

    def test_a_thinking_block_that_stays_open(self, load: Load) -> None:
        encoder = Encoder(load(THINKS), 100)
        for row, sides in enumerate([("why</think>a", "<think>no</think>b"), ("a", "b"), ("why</think>a", "b")], 1):
            encoder.encode(Pair("q", *sides), row)
        notes = encoder.notes()
        assert [note for note in notes if "thinking" in note] == [
            (
                "2 pairs whose answer does not close the thinking block that the prompt opens: the model learns to answer inside "
                "it; close it in the data, or switch thinking off where the template can (data.chat_template_kwargs)"
            )
        ]
        assert encoder.merged == 0
        assert notes[0].startswith("3 pairs whose prompt the chat template writes otherwise")

    def test_a_thinking_block_behind_a_closed_one(self, load: Load) -> None:
        closed = (
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
            "{% if not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
        )
        pair = Pair("q", "<think>\nhm\n</think>\n\na", "b")
        message = "1 pair whose answer opens a thinking block behind the one that the prompt has closed: take it out of the data"
        assert any(note.startswith(message) for note in encoded(load(closed), pair)[1])
        thinking = Pair("q", "<think>\nhm\n</think>\n\na", "b", chat_template_kwargs={"enable_thinking": True})
        for other in (thinking, Pair("q", "a", "b")):
            assert not any("has closed" in note for note in encoded(load(closed), other)[1])

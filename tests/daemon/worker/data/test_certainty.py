"""What is not certain is refused, with the setting to write; what is no text or no pair is told apart."""

from __future__ import annotations

import pytest

from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.types import Pair
from support.dataset_rows import TRIPLES, Row, answer, chat
from support.reading_rows import of, read


class TestRefused:
    """What is not certain, with the setting to write."""

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (
                [row | {"query": "Something else altogether?"} for row in of("question", "chosen", "rejected")],
                (
                    "the columns 'query' and 'question' may each be the prompt and differ; name the one "
                    "(data.prompt_feature: query or question), or all, to be joined in that order ([query, question]) "
                    "(rows 1, 2, 3)"
                ),
            ),
            (
                [row | {"question": "Something else altogether?"} for row in of("prompt", "chosen", "rejected")],
                (
                    "the column 'question' looks like a prompt and says something else than what was read; name the prompt's "
                    "column (data.prompt_feature: prompt or question), or leave it out (data.ignore_columns: [question]) (rows 1, 2, 3)"
                ),
            ),
            (
                [row | {"answer": "42"} for row in of("prompt", "chosen", "rejected")],
                (
                    "the column 'answer' looks like an answer and says something else than what was read; name the sides' "
                    "columns (data.chosen_feature: chosen, data.rejected_feature: rejected), or leave it out (data.ignore_columns: [answer]) "
                    "(rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "response_a", "response_b"),
                (
                    "has response_a and response_b, and no column is known to say which is preferred; its columns: prompt, "
                    "response_a, response_b. Name the column that says it with data.winner_feature, or the one with each "
                    "answer's score with data.score_feature"
                ),
            ),
            (
                of("prompt", "response_a", "response_b", winner=1),
                (
                    "winner holds 1, which does not say for certain which of response_a and response_b won; write the name of "
                    "the winning column (response_a or response_b) into it (rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "response_0", "response_1", winner=1, preferred=0),
                (
                    "the columns 'preferred' and 'winner' may each say which answer won; name the one (data.winner_feature: "
                    "preferred or winner) (rows 1, 2, 3)"
                ),
            ),
            (
                of("title", "chosen", "rejected"),
                (
                    "no column is known to be the prompt, and 'title' may be it; name it (data.prompt_feature: title), or, where "
                    "both sides begin with their prompt, leave it out (data.ignore_columns: [title])"
                ),
            ),
            (
                [{"chosen": triple.better, "rejected": triple.worse} for triple in TRIPLES],
                (
                    "in 2 of 3 rows the sides have no first words in common (rows 1, 3): these are answers without their "
                    "prompts; add a column 'prompt'"
                ),
            ),
            (
                [
                    {
                        "messages": chat(triple.question, "Never mind."),
                        "chosen": triple.better,
                        "rejected": triple.worse,
                    }
                    for triple in TRIPLES
                ],
                (
                    "the column 'messages' ends with an answer that is neither side: it is not the prompt alone; name the "
                    "prompt's column (data.prompt_feature), or leave it out (data.ignore_columns: [messages]) (rows 1, 2, 3)"
                ),
            ),
            (
                [
                    row | {"system": "Be brief.", "system_prompt": "Be long."}
                    for row in of("prompt", "chosen", "rejected")
                ],
                (
                    "the columns 'system' and 'system_prompt' may each be the system turn and differ; name the one "
                    "(data.system_feature: system or system_prompt) (rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "chosen", "rejected", persona="You are a pirate."),
                (
                    "the column 'persona' looks like a system turn and says something else than what was read; name the system "
                    "turn's column (data.system_feature: persona), or leave it out (data.ignore_columns: [persona]) (rows 1, 2, 3)"
                ),
            ),
            (
                of("question", "chosen", "rejected", passage="A page about it."),
                (
                    "the columns 'passage' and 'question' may each be the prompt and differ; name the one (data.prompt_feature: "
                    "passage or question), or all, to be joined in that order ([passage, question]) (rows 1, 2, 3)"
                ),
            ),
            (
                [
                    {"prompt": "Another?", "chosen": chat(t.question, t.better), "rejected": chat(t.question, t.worse)}
                    for t in TRIPLES
                ],
                (
                    "the prompt column is not what the conversations begin with; leave it out (data.ignore_columns: [prompt]) "
                    "(rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "response_0", "response_1", better_response_id=1, answer="Something of its own."),
                (
                    "the column 'answer' looks like an answer and says something else than what was read; leave it out "
                    "(data.ignore_columns: [answer]) (rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "preferred", "rejected", accepted="Another one."),
                (
                    "has preferred and accepted, which may each be the chosen answer; its columns: prompt, preferred, rejected, "
                    "accepted. Name the sides with data.chosen_feature and data.rejected_feature"
                ),
            ),
            (
                of("title", "response_0", "response_1", better_response_id=1),
                "no column is known to be the prompt; name it (data.prompt_feature: title) (rows 1, 2, 3)",
            ),
            (
                of("id", "response_0", "response_1", better_response_id=1),
                "no column is known to be the prompt; give each row its prompt (a column 'prompt') (rows 1, 2, 3)",
            ),
            (
                of("prompt", "preferred_answer", "other"),
                (
                    "has 'preferred_answer' for the chosen answer and none for the rejected one; its columns: prompt, "
                    "preferred_answer, other. Name it with data.rejected_feature"
                ),
            ),
        ],
    )
    def test_the_message_has_the_setting(self, rows: list[Row], expected: str) -> None:
        with pytest.raises(DataError) as caught:
            read(rows)
        assert str(caught.value).removeprefix("data.path: ROWS").removeprefix(":").strip() == expected

    def test_another_column_may_be_the_prompt_also_where_no_row_is_read(self) -> None:
        with pytest.raises(DataError, match="'title' may be it; name it"):
            read([{"title": f"Title {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(3)])
        dataset = read([{"system": 5, "chosen": f"Q{n} yes", "rejected": f"Q{n} no"} for n in range(3)])
        assert {str(reason) for _, reason in dataset.unusable} == {
            "wrong types: system is not the text of a system turn"
        }

    def test_the_setting_settles_it(self) -> None:
        rows = [row | {"query": "Something else?", "answer": "42"} for row in of("question", "chosen", "rejected")]
        dataset = read(rows, prompt_feature="question", ignore_columns=["answer"])
        assert dataset.unread == ["query", "answer"]
        assert dataset.pairs[0][1] == Pair(TRIPLES[0].question, TRIPLES[0].better, TRIPLES[0].worse)

    @pytest.mark.parametrize("column", ["images", "image", "audio", "videos"])
    def test_what_is_no_text_is_refused(self, column: str) -> None:
        dataset = read([row | {column: ["a.png"]} for row in of("prompt", "chosen", "rejected")])
        assert dataset.pairs == []
        (reason,) = {str(reason) for _, reason in dataset.unusable}
        assert reason.startswith(f"the column {column!r} is no text: prefd trains on text")

    def test_an_empty_column_of_images_hinders_nothing(self) -> None:
        dataset = read([row | {"images": []} for row in of("prompt", "chosen", "rejected")])
        assert (len(dataset.pairs), dataset.unread) == (3, [])

    def test_a_few_odd_rows_are_left_out_and_named(self) -> None:
        rows = [
            {"prompt": f"What is {i}?", "question": f"What is {i}?", "chosen": "a", "rejected": "b"} for i in range(20)
        ]
        rows[4]["question"] = "What is another?"
        dataset = read(rows)
        assert [number for number, _ in dataset.unusable] == [5]
        assert len(dataset.pairs) == 19


@pytest.mark.parametrize("role", ["Human", "gpt", "bot"])
def test_a_role_that_nobody_knows_is_named(role: str) -> None:
    dataset = read([{"prompt": "Q", "chosen": [{"role": role, "content": "a"}], "rejected": [answer("b")]}])
    assert [str(reason) for _, reason in dataset.unusable] == [
        f"role {role!r} is not one of system, user, assistant, tool: rename it"
    ]


def test_a_conversation_a_row_has_nothing_to_compare() -> None:
    with pytest.raises(DataError, match=r"is unpaired: it has one conversation a row \('messages'\) and no second"):
        read([{"messages": chat("Q", "a"), "id": 1}])


def test_a_list_of_answers_without_scores_is_no_ranking() -> None:
    rows: list[Row] = [{"instruction": t.question, "input": "", "output": [t.better, t.worse]} for t in TRIPLES]
    with pytest.raises(
        DataError, match=r"has lists of answers \('output'\), and nothing says which of them is the better"
    ):
        read(rows)
    rows = [{"prompt": t.question, "responses": [t.better, t.worse]} for t in TRIPLES]
    with pytest.raises(
        DataError, match="has the answers of responses, and no column is known to say which is preferred"
    ):
        read(rows)


def test_unpaired_rows_say_so() -> None:
    dataset = read([{"prompt": triple.question, "completion": triple.better, "label": True} for triple in TRIPLES])
    assert dataset.pairs == []
    assert {str(reason) for _, reason in dataset.unusable} == {
        (
            "unpaired: one answer (completion) and a label; this loss compares two answers to one prompt, a chosen and a "
            "rejected one: take kto, which learns from single answers with a label; or where other rows have answers to it, "
            "give each a 'score', the better one the higher"
        )
    }


def test_a_file_of_columns_is_no_conversation() -> None:
    row = {"prompt": ["Say red.", "Say blue."], "chosen": ["red", "blue"], "rejected": ["no", "never"]}
    dataset = read([row])
    assert dataset.pairs == []
    assert [str(reason) for _, reason in dataset.unusable] == [
        "wrong types: chosen is a list, not text or chat messages"
    ]

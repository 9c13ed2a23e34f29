"""The columns of much-used datasets, each with the pair that is meant by its rows."""

from __future__ import annotations

from support.dataset_rows import (
    SYSTEM,
    TRIPLES,
    Row,
    Shape,
    answer,
    chat,
    plain,
    two,
    user,
    winner,
    with_system,
)

SHAPES: dict[str, Shape] = {
    "plain": plain(prompt="question", chosen="better", rejected="worse"),
    "question": plain(question="question", chosen="better", rejected="worse", id="7"),
    "query": plain(query="question", chosen="better", rejected="worse"),
    "orca_dpo_pairs": plain(system=SYSTEM, question="question", chosen="better", rejected="worse")._replace(
        prompt=with_system
    ),
    "argilla distilabel orca": Shape(
        lambda t, _: {
            "system": SYSTEM,
            "input": t.question,
            "chosen": t.better,
            "rejected": t.worse,
            "generations": [t.better, t.worse],
            "order": ["chosen", "rejected"],
            "labelling_model": "gpt-4",
            "labelling_prompt": [user("Rate these answers, please."), answer("Yes.")],
            "raw_labelling_response": "9 8 because it is more to the point",
            "rating": [9.0, 8.0],
            "rationale": "The first one is more to the point.",
            "status": "unchanged",
            "original_chosen": t.better,
            "original_rejected": t.worse,
            "chosen_score": 9.0,
            "in_gsm8k_train": False,
        },
        with_system,
    ),
    "argilla ultrafeedback preferences": Shape(
        lambda t, _: {
            "source": "evol_instruct",
            "instruction": t.question,
            "chosen_response": t.better,
            "rejected_response": t.worse,
            "chosen_avg_rating": 4.5,
            "rejected_avg_rating": 2.0,
            "chosen_model": "a",
        }
    ),
    "OpenHermesPreferences": Shape(
        lambda t, _: {
            "source": "s",
            "category": None,
            "prompt": t.question,
            "candidates_completions": [t.worse, t.better, "Nobody knows that."],
            "candidate_policies": ["a", "b", "c"],
            "ranks": [2, 1, 3],
            "rank_str": "b > a > c",
            "chosen": chat(t.question, t.better),
            "rejected": chat(t.question, t.worse),
            "chosen_policy": "b",
            "rejected_policy": "a",
        }
    ),
    "Snorkel": Shape(
        lambda t, _: {
            "prompt_id": "1",
            "prompt": t.question,
            "chosen": chat(t.question, t.better),
            "rejected": chat(t.question, t.worse),
            "all_generated_responses": [t.worse, t.better],
            "all_rm_scores": [0.1, 0.9],
        }
    ),
    "tulu": Shape(
        lambda t, _: {
            "id": "1",
            "source": "s",
            "prompt": t.question,
            "chosen": chat(t.question, t.better),
            "rejected": chat(t.question, t.worse),
            "chosen_model": "a",
            "rejected_model": "b",
            "prompt_id": "p",
        }
    ),
    "Skywork": Shape(
        lambda t, _: {"chosen": chat(t.question, t.better), "rejected": chat(t.question, t.worse), "source": "magpie"}
    ),
    "Dahoas full-hh-rlhf": Shape(
        lambda t, _: {
            "prompt": f"\n\nHuman: {t.question}\n\nAssistant:",
            "response": f" {t.better}",
            "chosen": f" {t.better}",
            "rejected": f" {t.worse}",
        }
    ),
    "alpaca with input": Shape(
        lambda t, _: {"instruction": "Be brief.", "input": t.question, "chosen": t.better, "rejected": t.worse},
        lambda t: [user(f"Be brief.\n{t.question}")],
    ),
    "alpaca with an empty input": plain(instruction="question", input="", chosen="better", rejected="worse"),
    "LLaMA-Factory with history": Shape(
        lambda t, _: {
            "system": SYSTEM,
            "history": [["Are you there?", "I am."], ["Good.", "What is it?"]],
            "instruction": t.question,
            "input": "",
            "chosen": t.better,
            "rejected": t.worse,
        },
        lambda t: [
            {"role": "system", "content": SYSTEM},
            user("Are you there?"),
            answer("I am."),
            user("Good."),
            answer("What is it?"),
            user(t.question),
        ],
    ),
    "LLaMA-Factory sharegpt": Shape(
        lambda t, _: {
            "conversations": [{"from": "human", "value": t.question}],
            "chosen": {"from": "gpt", "value": t.better},
            "rejected": {"from": "gpt", "value": t.worse},
            "system": "",
        }
    ),
    "sharegpt, whole conversations": Shape(
        lambda t, _: {
            side: [
                {"from": "system", "value": SYSTEM},
                {"from": "human", "value": t.question},
                {"from": "gpt", "value": text},
            ]
            for side, text in (("chosen", t.better), ("rejected", t.worse))
        },
        with_system,
    ),
    "axolotl chat": Shape(
        lambda t, _: {"messages": [user(t.question)], "chosen": answer(t.better), "rejected": answer(t.worse)}
    ),
    "messages and lists": Shape(
        lambda t, _: {"messages": [user(t.question)], "chosen": [answer(t.better)], "rejected": [answer(t.worse)]}
    ),
    "ms-swift messages": Shape(
        lambda t, _: {
            "messages": [{"role": "system", "content": SYSTEM}, *chat(t.question, t.better)],
            "rejected_response": t.worse,
        },
        with_system,
    ),
    "ms-swift query": plain(system=SYSTEM, query="question", response="better", rejected_response="worse")._replace(
        prompt=with_system
    ),
    "stack-exchange-paired": plain(qid="1", question="question", date="d", response_j="better", response_k="worse"),
    "y_w and y_l": plain(question="question", y_w="better", y_l="worse"),
    "accepted and rejected": plain(instruction="question", accepted="better", rejected="worse"),
    "lists of one answer": Shape(lambda t, _: {"prompt": t.question, "chosen": [t.better], "rejected": [t.worse]}),
    "preferred and dispreferred": plain(prompt="question", preferred="better", dispreferred="worse"),
    "winning and losing": plain(prompt="question", winning_response="better", losing_response="worse"),
    "OpenAI": Shape(
        lambda t, _: {
            "input": {"messages": with_system(t), "tools": [], "parallel_tool_calls": True},
            "preferred_output": [answer(t.better)],
            "non_preferred_output": [answer(t.worse)],
        },
        with_system,
    ),
    "PKU-SafeRLHF": winner(
        "response_0",
        "response_1",
        lambda place: {"better_response_id": place, "safer_response_id": 0},
        prompt_source="s",
        response_0_source="a",
        response_1_source="b",
        is_response_0_safe=True,
        is_response_1_safe=False,
        response_0_severity_level=0,
        response_0_sha256="ab",
    ),
    "HelpSteer3": Shape(
        lambda t, swapped: {
            "domain": "general",
            "language": "english",
            "context": [user("Hello"), answer("Hello, what is it?"), user(t.question)],
            "response1": two(t, swapped)[0],
            "response2": two(t, swapped)[1],
            "overall_preference": 2 if swapped else -1,
            "individual_preference": [{"score": -1, "reasoning": "It is right.", "feedback_1": "Right."}],
        },
        lambda t: [user("Hello"), answer("Hello, what is it?"), user(t.question)],
    ),
    "HelpSteer2 preference": winner(
        "response_1",
        "response_2",
        lambda place: {"preference_strength": 3 if place else -2},
        split="train",
        preference_statement="Response 2 is slightly better",
        preference_elaboration="It is more to the point than the other one.",
    ),
    "SHP": Shape(
        lambda t, swapped: {
            "post_id": "x",
            "domain": "askscience",
            "upvote_ratio": 0.9,
            "history": t.question,
            "c_root_id_A": "a",
            "c_root_id_B": "b",
            "score_A": 3 if swapped else 30,
            "score_B": 30 if swapped else 3,
            "human_ref_A": two(t, swapped)[0],
            "human_ref_B": two(t, swapped)[1],
            "labels": int(not swapped),
            "seconds_difference": 12.0,
            "score_ratio": 10.0,
        }
    ),
    "chatbot arena": Shape(
        lambda t, swapped: {
            "question_id": "q",
            "model_a": "vicuna-13b",
            "model_b": "koala-13b",
            "winner": "model_b" if swapped else "model_a",
            "judge": "arena_user_1",
            "conversation_a": chat(t.question, two(t, swapped)[0]),
            "conversation_b": chat(t.question, two(t, swapped)[1]),
            "turn": 1,
            "anony": True,
            "language": "English",
            "tstamp": 1.0,
            "openai_moderation": {"flagged": False},
        }
    ),
    "arena, Kaggle": Shape(
        lambda t, swapped: {
            "id": 1,
            "model_a": "a",
            "model_b": "b",
            "prompt": f'["{t.question}"]',
            "response_a": f'["{two(t, swapped)[0]}"]',
            "response_b": f'["{two(t, swapped)[1]}"]',
            "winner_model_a": int(not swapped),
            "winner_model_b": int(swapped),
            "winner_tie": 0,
        }
    ),
    "alpaca_farm": Shape(
        lambda t, swapped: {
            "instruction": t.question,
            "input": "",
            "output_1": two(t, swapped)[0],
            "output_2": two(t, swapped)[1],
            "preference": 1 + swapped,
        }
    ),
    "letters": winner("answer_A", "answer_B", lambda place: {"preferred": "AB"[place]}),
    "a named column": winner("response_a", "response_b", lambda place: {"winner": ("response_a", "response_b")[place]}),
    "an index": winner("response_a", "response_b", lambda place: {"chosen_index": place}),
    "summarize_from_feedback": Shape(
        lambda t, swapped: {
            "info": {"id": "1", "post": t.question, "title": "Help", "subreddit": "pets"},
            "summaries": [{"text": text, "policy": "p", "note": None} for text in two(t, swapped)],
            "choice": int(swapped),
            "worker": "w",
            "batch": "b",
            "split": "train",
            "extra": {"confidence": None},
        },
        lambda t: [user(f"SUBREDDIT: r/pets\n\nTITLE: Help\n\nPOST: {t.question}\n\nTL;DR:")],
    ),
    "a list and an index": Shape(
        lambda t, swapped: {"prompt": t.question, "responses": list(two(t, swapped)), "chosen": int(swapped)}
    ),
    "UltraFeedback": Shape(
        lambda t, swapped: {
            "source": "evol_instruct",
            "instruction": t.question,
            "models": ["a", "b", "c"],
            "completions": [
                {
                    "annotations": {"helpfulness": {"Rating": "4"}},
                    "custom_system_prompt": "Be helpful.",
                    "critique": "Good.",
                    "fine-grained_score": 3.0,
                    "model": "a",
                    "overall_score": score,
                    "principle": "helpfulness",
                    "response": text,
                }
                for text, score in [
                    *zip(two(t, swapped), (2.0, 9.0) if swapped else (9.0, 2.0)),
                    ("Nobody knows.", 5.0),
                ]
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        }
    ),
    "distilabel": Shape(
        lambda t, swapped: {
            "instruction": t.question,
            "generations": list(two(t, swapped)),
            "ratings": [1.0, 5.0] if swapped else [5.0, 1.0],
            "generation_models": ["a", "b"],
        }
    ),
    "Nectar": Shape(
        lambda t, swapped: {
            "prompt": f"\n\nHuman: {t.question}\n\nAssistant: ",
            "answers": [
                {"answer": text, "model": "m", "rank": rank}
                for text, rank in [*zip(two(t, swapped), (3.0, 1.0) if swapped else (1.0, 3.0)), ("Nobody knows.", 2.0)]
            ],
            "turns": 1,
            "num_responses": 3,
            "source": ["s"],
            "good_natured": True,
        }
    ),
    "WebGPT": Shape(
        lambda t, swapped: {
            "question": {"dataset": "eli5", "id": "1", "full_text": t.question},
            "quotes_0": {"title": ["A page"], "extract": ["Spiders have legs."]},
            "answer_0": two(t, swapped)[0],
            "tokens_0": {"prefix": [1], "completion": [2]},
            "score_0": -0.5 if swapped else 0.5,
            "quotes_1": {"title": [], "extract": []},
            "answer_1": two(t, swapped)[1],
            "tokens_1": {"prefix": [1], "completion": [2]},
            "score_1": 0.5 if swapped else -0.5,
        }
    ),
    "stack-exchange-preferences": Shape(
        lambda t, swapped: {
            "qid": 1,
            "question": t.question,
            "answers": [
                {"answer_id": i, "author": "x", "pm_score": score, "selected": False, "text": text}
                for i, (text, score) in enumerate(zip(two(t, swapped), (0, 4) if swapped else (4, 0)))
            ],
            "date": "d",
            "metadata": ["m"],
        }
    ),
    "distilabel capybara": Shape(
        lambda t, _: {
            "source": "s",
            "conversation": [{"input": "Hello", "output": "What is it?"}, {"input": t.question, "output": t.worse}],
            "original_response": t.worse,
            "generation_prompt": [f"<s>{t.question}"],
            "raw_generation_responses": [t.better, "Nobody knows."],
            "prompt": "Hello",
            "chosen": [user("Hello"), answer("What is it?"), *chat(t.question, t.better)],
            "rejected": [user("Hello"), answer("What is it?"), *chat(t.question, t.worse)],
            "rating_chosen": 5,
            "rating_rejected": 3,
        },
        lambda t: [user("Hello"), answer("What is it?"), user(t.question)],
    ),
}


def rows_of(shape: Shape) -> list[Row]:
    """A row for each triple, the second with its answers swapped where the shape has an order of them."""
    return [shape.row(triple, place == 1) for place, triple in enumerate(TRIPLES)]

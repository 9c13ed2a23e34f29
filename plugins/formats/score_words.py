"""Lists the words by which the name of a number says whether more of it is better."""

from __future__ import annotations

SCORES = [
    "score",
    "overall_score",
    "rating",
    "overall_rating",
    "avg_rating",
    "reward",
    "pm_score",
    "helpfulness",
    "quality",
    "scores",
    "ratings",
    "rewards",
    "overall_scores",
    "rm_scores",
]
"""Names of an answer's score, higher is better; of several that agree the first is taken."""
RANKS = frozenset(["rank", "ranks"])
"""Names of an answer's place, 1 is the best."""
GOOD = frozenset(
    [
        "avg",
        "average",
        "mean",
        "overall",
        "final",
        "total",
        "rm",
        "pm",
        "reward",
        "model",
        "gpt",
        "llm",
        "judge",
        "meta",
        "human",
        "annotator",
        "helpfulness",
        "helpful",
        "quality",
        "correctness",
        "preference",
    ]
)
"""Words before a score's name with which it still is better the higher it is."""
LOW = frozenset(
    [
        "toxicity",
        "toxic",
        "harm",
        "harmful",
        "harmfulness",
        "loss",
        "losses",
        "nll",
        "perplexity",
        "ppl",
        "error",
        "errors",
        "severity",
        "refusal",
        "refusals",
        "bad",
        "badness",
        "worse",
        "hallucination",
        "hallucinations",
        "risk",
        "unsafe",
        "violation",
        "violations",
        "penalty",
        "penalties",
        "cost",
        "costs",
        "distance",
        "wer",
        "cer",
        "mse",
        "rmse",
        "mae",
        "bias",
        "kl",
        "negative",
        "incorrectness",
        "insult",
        "profanity",
        "threat",
        "obscenity",
        "spam",
        "repetition",
        "mistake",
        "mistakes",
        "fault",
        "faults",
        "danger",
        "uncertainty",
    ]
)
"""Words of numbers that are better the lower they are."""
LESS = frozenset(["less", "least", "low", "lower", "lowest", "fewer", "fewest", "non", "not"])
"""Words that turn round what the others of a name say."""

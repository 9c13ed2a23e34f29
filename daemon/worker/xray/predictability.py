"""Learns what the data prefers, and finds the pairs that prefer otherwise: out of fold, so that no pair speaks for itself.

A label that was turned round is seldom one that the reference disagrees with: a reference knows which answer is likelier, and
people prefer the better one. It is mostly one that the rest of the data disagrees with. So a small Bradley-Terry model is fitted
to four fifths of the prompts and asked of the last fifth, five times. What it looks at: the answers' lengths, the reference's
log-probabilities, whether either answer wins elsewhere, and which tokens tend to stand in chosen answers (a naive Bayes count).
This is confident learning (Northcutt et al. 2021, arXiv:1911.00068) with a model that takes milliseconds.

It finds what is unlike the rest. Where the rest is biased, say to length, an honest pair against the bias looks suspicious too:
the list is to be read, and not to be believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.xray.pair_features import Floats, PairFeatures

FOLDS = 5
FEWEST_PAIRS = 40
"""Pairs below which nothing is learnt of them."""
FEWEST_PROMPTS = 10
RIDGE = 1.0
MOST_STEPS = 50
FLATTEST = 1e-6


@dataclass(frozen=True)
class Predictions:
    """Predictions holds what the other pairs say of each pair."""

    logits: Floats
    """(n,) The log-odds that the pair is labelled as it is; below 0, the others would have it the other way round."""

    @property
    def probabilities(self) -> Floats:
        """Return the probability that each pair is labelled as it is, (n,)."""
        return 1 / (1 + np.exp(-self.logits))

    @property
    def accuracy(self) -> float:
        """Return the share of the pairs that the others predict as they are labelled."""
        return float((self.logits > 0).mean())


def predict_labels(pairs: PairFeatures) -> Predictions | None:
    """Predict each pair's label from the pairs of other prompts; None where there are too few of them."""
    if len(pairs.examples) < FEWEST_PAIRS or pairs.prompts.max(initial=-1) + 1 < FEWEST_PROMPTS:
        return None
    folds = pairs.prompts % FOLDS
    features = np.stack(
        [
            pairs.length_ratio,
            pairs.lengths[:, 0] - pairs.lengths[:, 1],
            np.where(pairs.is_scored, pairs.margin, 0.0),
            np.where(pairs.is_scored, pairs.mean_margin, 0.0),
            pairs.count_other_wins(),
            count_token_evidence(pairs, folds),
        ],
        axis=1,
    )
    scale = np.sqrt((features**2).mean(axis=0))
    features = features / np.where(scale > 0, scale, 1.0)
    logits = np.empty(len(features))
    for fold in range(FOLDS):
        here = folds == fold
        logits[here] = features[here] @ fit_bradley_terry(features[~here])
    return Predictions(logits)


def fit_bradley_terry(differences: Floats, ridge: float = RIDGE) -> Floats:
    """Fit weights w that make Σ log σ(w·d) − ridge/2 |w|² largest, by Newton's method. `differences`: (n, k), chosen less rejected."""
    weights = np.zeros(differences.shape[1])
    for _ in range(MOST_STEPS):
        doubt = 1 / (1 + np.exp(np.clip(differences @ weights, -30, 30)))
        gradient = differences.T @ doubt - ridge * weights
        curvature = (differences * (doubt * (1 - doubt))[:, None]).T @ differences + ridge * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < FLATTEST:
            break
    return weights


def count_token_evidence(pairs: PairFeatures, folds: npt.NDArray[np.int64]) -> Floats:
    """Sum the log-odds of the tokens that stand in the chosen answer alone, less those of the rejected one's own, (n,).

    The odds of a token are how often it stands in chosen answers to in rejected ones, counted in the pairs of the other folds.
    """
    own_tokens = [_list_own_tokens(pairs, index) for index in range(len(pairs.examples))]
    size = 1 + max((int(tokens.max()) for both in own_tokens for tokens in both if tokens.size), default=0)
    counts = np.zeros((FOLDS, 2, size))
    for fold, both in zip(folds, own_tokens):
        for side, tokens in enumerate(both):
            counts[fold, side, tokens] += 1
    elsewhere = counts.sum(axis=0) - counts
    odds = np.log1p(elsewhere[:, 0]) - np.log1p(elsewhere[:, 1])
    return np.array(
        [odds[fold, chosen].sum() - odds[fold, rejected].sum() for fold, (chosen, rejected) in zip(folds, own_tokens)]
    )


def _list_own_tokens(pairs: PairFeatures, index: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """List the tokens that stand in one answer of a pair and not in the other."""
    example = pairs.examples[index]
    chosen, rejected = (np.unique(side.ids[side.start :]) for side in (example.chosen, example.rejected))
    return (
        np.setdiff1d(chosen, rejected, assume_unique=True),
        np.setdiff1d(rejected, chosen, assume_unique=True),
    )

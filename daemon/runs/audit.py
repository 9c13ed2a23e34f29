"""Audit counts what a job needs from the reference cache, and how much of it is there."""

from __future__ import annotations

from prefd.daemon.text.document_model import DocumentModel


class Audit(DocumentModel):
    """Audit says how much of what a job needs the cache holds."""

    completions: int = 0
    """Distinct completions of the job's pairs."""
    duplicates: int = 0
    """How many more sides of pairs there are than distinct completions."""
    cached: int = 0
    missing: int = 0
    tokens_scored: int = 0
    """Tokens of the missing completions alone."""
    tokens_run: int = 0
    """Tokens of the missing completions and their prompts."""
    bytes: int = 0
    """Bytes that all completions take in the cache."""

"""The response headers that tell a browser how little the page needs, so that it refuses everything else."""

from __future__ import annotations

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the shell. The editor puts its style into the page by itself, and is given the nonce."""

CLOSED_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""That of everything else, which is never shown as a document."""

ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
"""The headers of every answer."""

DEFAULTS = (
    (b"content-security-policy", CLOSED_POLICY.encode()),
    (b"cache-control", b"no-store"),
)
"""Those of every answer that says nothing else."""


def make_policy(nonce: str) -> str:
    """Make the shell's Content-Security-Policy."""
    return POLICY.format(nonce=nonce)

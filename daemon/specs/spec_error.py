"""SpecError says why a spec cannot be a job, in parts and in lines."""

from __future__ import annotations

from prefd.daemon.errors import PrefdError
from prefd.daemon.text.text_fault import TextFault


class SpecError(PrefdError):
    """The spec cannot be a job. Each of `faults` is one thing that is wrong with it, and one line of the message."""

    http_status = 422

    def __init__(self, *faults: TextFault | str, file: str = "") -> None:
        self.faults: tuple[TextFault, ...] = tuple(
            fault if isinstance(fault, TextFault) else TextFault(fault) for fault in faults
        )
        """What is wrong, each with its setting and its line and column as far as they are known."""
        self.file = file
        """The name of the spec's file, with which each line of the message begins; empty where no file is meant."""
        super().__init__(*(f"{file}: {fault}" if file else str(fault) for fault in self.faults))

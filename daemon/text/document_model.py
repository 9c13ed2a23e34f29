"""DocumentModel is the base of typed JSON documents that prefd writes in one place and reads in another, perhaps as another version of itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class DocumentModel(BaseModel):
    """DocumentModel is a frozen JSON document. Fields that it lacks take their defaults; fields that this version does not know are kept.

    So an older home is read, and what is shown of a newer one has all that was written.
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)  # built when read: commands import many

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that it was read or made with, and no defaults, as plain JSON values."""
        return self.model_dump(exclude_unset=True)

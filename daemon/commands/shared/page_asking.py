"""`ask_page` puts a question about a spec to the home's page, whose worker stays and has the tokenizer, the rows and MLX in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from prefd.daemon.commands.shared.errors import Failure
from prefd.daemon.home.layout import Home

if TYPE_CHECKING:
    from prefd.daemon.specs.job_spec import JobSpec
    from prefd.daemon.text.document_model import DocumentModel

Answer = TypeVar("Answer", bound="DocumentModel")
PATIENCE_SECONDS = 60.0
"""For an answer. A page that takes longer is left alone, and a worker of the command's own is asked."""


def ask_page(home: Home, path: str, spec: JobSpec, answer: type[Answer]) -> Answer | None:
    """Ask the page that is served of `home`; None where none is, or where it cannot answer now.

    Of what it answers, the fields of `answer` are taken. Raises Failure with its words where the spec's data is refused.
    """
    from prefd.daemon.home.page_record import EVERY_ADDRESS, find_page

    record = find_page(home)
    if record is None:
        return None
    import http.client  # here: it takes as long to import as all that `prefd --help` needs besides click and rich

    headers = {"Authorization": f"Bearer {record.token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(
        EVERY_ADDRESS.get(record.host, record.host), record.port, timeout=PATIENCE_SECONDS
    )
    try:
        connection.request("POST", path, json.dumps(spec.model_dump(mode="json", exclude_unset=True)), headers)
        reply = connection.getresponse()
        document = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if not isinstance(document, dict):
        return None
    if reply.status == http.HTTPStatus.UNPROCESSABLE_ENTITY:
        raise Failure("\n".join(map(str, document.get("lines", ["the page refuses the spec"]))))
    if reply.status != http.HTTPStatus.OK:
        return None
    return answer.model_validate({name: document[name] for name in answer.model_fields if name in document})

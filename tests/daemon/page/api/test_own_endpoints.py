"""What the page's process answers by itself fits what its OpenAPI document says of it, and has no field that is not described."""

from __future__ import annotations

import json
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from prefd.daemon.control.api.openapi import build_document
from prefd.daemon.health.selftest.kept_results import keep_results
from prefd.daemon.home.layout import Home
from prefd.daemon.page.api import cache, cleaning, compare, machine, series
from prefd.daemon.page.api.own_endpoints import list_own_endpoints
from prefd.daemon.worker_tasks.check_results import CheckResult
from support import homes
from support.answer_schemas import check_answer
from support.page_api import asking


def test_each_answer_is_the_described_one(ready_home: Home) -> None:
    homes.add_done(ready_home, name="one")
    homes.add_running(ready_home, name="two")
    keep_results(ready_home, [CheckResult(name="noise", outcome="ok", finding="it is.", numbers={"nats": 0.1})])
    endpoints = list_own_endpoints(ready_home)
    described: dict[str, Any] = json.loads(json.dumps(build_document(endpoints)))
    assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []
    routes = set[str]()
    with asking(ready_home) as http:
        for path, url in (
            ("/v1/jobs/{job_id}/series", "/v1/jobs/1/series?points=5"),
            ("/v1/series", "/v1/series?ids=1,2"),
            ("/v1/compare", "/v1/compare?ids=1,2"),
            ("/v1/cache", "/v1/cache"),
            ("/v1/cache/{fingerprint}", "/v1/cache/00"),
            ("/v1/cleaning", "/v1/cleaning?keep=0"),
            ("/v1/cleaning", "/v1/cleaning"),
            ("/v1/selftest", "/v1/selftest"),
            ("/v1/config", "/v1/config"),
        ):
            reply = http.get(url)
            operation = described["paths"][path]["get"]
            assert operation["servers"][0]["url"] == "/"
            schema = operation["responses"][str(reply.status_code)]["content"]["application/json"]["schema"]
            check_answer(described, schema, reply.json())
            routes.add(path)
    modules = (series, compare, cache, cleaning, machine)
    of_modules = {each.path for each in endpoints if each.handle.__module__ in {module.__name__ for module in modules}}
    assert routes | {"/v1/doctor"} == of_modules

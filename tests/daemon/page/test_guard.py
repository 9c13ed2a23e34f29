"""Who is answered by the page, and who is not: attacks on a server of this machine, each in its own words."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from prefd.daemon.control.api.events import Hub
from prefd.daemon.home.layout import Home
from prefd.daemon.page.app import MAX_LIST_BYTES, list_endpoints
from support.page import ADDRESS, OPEN, PORT, TOKEN, browse, write_static

OWN = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def page(four_jobs: Home, tmp_path: Path) -> TestClient:
    return browse(four_jobs, write_static(tmp_path / "static"))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        f"127.0.0.1.evil.example:{PORT}",
        "127.0.0.1:8378",
        "127.0.0.1",
        "localhost",
        f"localhost.:{PORT}",
        f"127.0.0.1:{PORT}@evil.example",
        f"127.0.0.1:{PORT}/v1/jobs?",
        f"0.0.0.0:{PORT}",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/jobs", "/assets/main-HASH.js", "/no/such"])
def test_a_name_that_was_pointed_here_is_not_answered_even_with_the_token(
    page: TestClient, host: str, path: str
) -> None:
    assert page.get(path, headers={**OPEN, "Host": host}).status_code == 421


def test_two_hosts_are_none(page: TestClient) -> None:
    request = page.build_request("GET", "/v1/jobs", headers=OPEN)
    request.headers = httpx.Headers([*OPEN.items(), ("Host", f"127.0.0.1:{PORT}"), ("Host", "evil.example")])
    assert page.send(request).status_code == 421


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"LOCALHOST:{PORT}", f"[::1]:{PORT}"])
def test_this_machines_own_names_are_answered(page: TestClient, host: str) -> None:
    assert page.get("/v1/jobs", headers={**OPEN, "Host": host}).status_code == 200


def test_a_name_that_was_allowed_is_answered_with_the_port_or_as_behind_a_proxy(
    four_jobs: Home, tmp_path: Path
) -> None:
    page = browse(four_jobs, write_static(tmp_path / "static"), "box.example", "other.example:443")
    for host in ("box.example", f"box.example:{PORT}", "other.example:443"):
        assert page.get("/", headers={"Host": host}).status_code == 200
    assert page.get("/", headers={"Host": "other.example"}).status_code == 421
    for origin in ("https://box.example", "http://box.example"):
        headers = {**OPEN, "Host": "box.example", "Origin": origin}
        assert page.get("/v1/jobs", headers=headers).status_code == 200


def test_every_endpoint_is_locked_without_the_token(page: TestClient, four_jobs: Home) -> None:
    endpoints = list_endpoints(four_jobs, Hub(four_jobs))
    assert len(endpoints) > 20
    for each in endpoints:
        assert page.request(each.method, each.path.replace("{job_id}", "1")).status_code == 401, each.path


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/no/such", "/%761/jobs", "/v1/../v1/jobs", "/v1/jobs/1/log?x=/assets/"]
)
def test_no_spelling_of_a_path_misses_the_lock(page: TestClient, path: str) -> None:
    assert page.get(path).status_code == 401


@pytest.mark.parametrize("path", ["//v1/jobs", "/V1/jobs", "/x/../v1x/jobs", "/assets/../index.html"])
def test_what_is_no_path_of_the_api_tells_nothing(page: TestClient, path: str) -> None:
    answer = page.get(path)
    assert answer.status_code in (200, 401, 404)
    assert "jobs" not in answer.text or answer.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \xe9" * 20},
        {"Cookie": f"token={TOKEN}"},
        {"X-Token": TOKEN},
    ],
)
def test_only_the_whole_token_in_its_header_opens(page: TestClient, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    assert page.get("/v1/jobs", headers=raw).status_code == 401
    assert page.get(f"/v1/jobs?token={TOKEN}").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{PORT}"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Origin": f"{ADDRESS}.evil.example"},
        {"Origin": "file://"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_another_page_has_the_browser_ask_is_refused(
    page: TestClient, method: str, headers: dict[str, str]
) -> None:
    path = "/v1/queue/pause" if method == "POST" else "/v1/jobs"
    assert page.request(method, path, headers={**OPEN, **headers}).status_code == 403


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_form_of_another_page_changes_nothing(page: TestClient, media: str) -> None:
    body: dict[str, Any] = {"content": b'{"model": "m"}', "headers": {"Content-Type": media}}
    assert page.post("/v1/jobs", **body).status_code == 401
    body["headers"] |= OPEN | OWN
    assert page.post("/v1/jobs", **body).status_code == 415


def test_no_other_page_may_read_an_answer(page: TestClient) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answers = [page.options("/v1/jobs", headers=headers), page.get("/"), page.get("/v1/jobs", headers=OPEN)]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_what_is_too_large_is_refused_before_it_is_read(page: TestClient) -> None:
    sizes = {"Content-Length": str(MAX_LIST_BYTES + 1), "Content-Type": "application/json"}
    assert page.post("/v1/jobs", content=b"{}", headers={**OPEN, **sizes}).status_code == 413
    chunks = (b" " * 65_536 for _ in range(MAX_LIST_BYTES // 65_536 + 1))
    assert (
        page.post("/v1/jobs", content=chunks, headers={**OPEN, "Content-Type": "application/json"}).status_code == 413
    )


def test_every_answer_has_the_headers_that_close_it(page: TestClient) -> None:
    answers = [
        page.get("/"),
        page.get("/jobs/3/charts"),
        page.get("/assets/main-HASH.js"),
        page.get("/assets/none.js"),
        page.get("/v1/jobs"),
        page.get("/v1/jobs", headers=OPEN),
        page.get("/", headers={"Host": "evil.example"}),
    ]
    assert [each.status_code for each in answers] == [200, 200, 200, 404, 401, 200, 421]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "server" not in answer.headers
        assert "set-cookie" not in answer.headers


def test_the_shell_has_a_new_nonce_each_time_and_no_secret(page: TestClient) -> None:
    shells = [page.get("/"), page.get("/jobs/3")]
    policies = {each.headers["content-security-policy"] for each in shells}
    assert len(policies) == 2
    for each in shells:
        nonce = each.text.partition('nonce="')[2].partition('"')[0]
        assert len(nonce) >= 20
        assert f"'nonce-{nonce}'" in each.headers["content-security-policy"]
        assert TOKEN not in each.text
    assert "immutable" in page.get("/assets/main-HASH.js").headers["cache-control"]


def test_the_token_is_in_no_log(page: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/v1/jobs", "/v1/status", "/v1/jobs/99", f"/v1/jobs?token={TOKEN}"):
        page.get(path, headers=OPEN)
    assert TOKEN not in "".join(each.getMessage() for each in caplog.records if not each.name.startswith("httpx"))

"""Requests of pages of other servers are refused, whichever header their browser tells it by."""

import pytest

pytest.importorskip("fastapi")
from starlette.datastructures import Headers

from retop.serving.guard import LOOPBACK, _from_other_page, _host_name


@pytest.mark.parametrize(
    ("headers", "other"),
    [
        ({}, False),
        ({"origin": "http://localhost:8000"}, False),
        ({"origin": "http://LOCALHOST:8000"}, False),
        ({"origin": "http://localhost:3000"}, True),
        ({"origin": "https://example.org"}, True),
        ({"origin": "null"}, True),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "http://localhost:8000", "sec-fetch-site": "cross-site"}, True),
    ],
)
def test_a_page_of_another_origin_is_another_page(headers: dict[str, str], other: bool) -> None:
    assert _from_other_page(Headers({"host": "localhost:8000", **headers})) is other


@pytest.mark.parametrize("host", ["[::1]:8000", "[::1]", "::1", "localhost:8000", "LOCALHOST.", "127.0.0.1:80"])
def test_names_of_this_machine_are_known_with_and_without_port(host: str) -> None:
    assert _host_name(host) in LOOPBACK


@pytest.mark.parametrize("host", ["[::2]:8000", "::1.example.org", "localhost.example.org:8000", "", ":8000"])
def test_other_names_are_not(host: str) -> None:
    assert _host_name(host) not in LOOPBACK

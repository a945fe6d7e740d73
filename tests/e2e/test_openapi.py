"""The server against its own description: whatever fits it, and much that does not, gives no 5xx."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from serving import Server, running_server

schemathesis = pytest.importorskip("schemathesis")
EXAMPLES = 25


@pytest.fixture(scope="module")
def server(trained_run: Path) -> Iterator[Server]:
    with running_server(f"m={trained_run}") as started:
        yield started


def test_no_request_that_the_description_allows_or_forbids_gives_a_server_error(server: Server) -> None:
    described = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 6
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    answered = []
    for operation in operations:
        for mode in modes:

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
                database=None,
                derandomize=True,
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                # Names of models are guessed; every second request goes to one that exists.
                if "name" in (case.path_parameters or {}) and len(answered) % 2:
                    case.path_parameters["name"] = "m"
                answer = case.call(base_url=server.address)
                assert answer.status_code < 500, f"{case.method} {case.path}: {answer.status_code} {answer.text}"
                answered.append(answer.status_code)

            if mode is modes[0] or operation.method.upper() == "POST":
                ask()
    assert len(answered) > 6 * EXAMPLES / 3

"""Who waits for whom: nothing is computed for clients that have gone, and heat maps have a lane of their own."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from images import draw_shape
from serving import Server, running_server

LANE = 4


@pytest.fixture(scope="module")
def server(trained_run: Path) -> Iterator[Server]:
    with running_server(f"m={trained_run}", decode_seconds=100.0, heat_maps=LANE) as started:
        yield started


def png() -> bytes:
    content = BytesIO()
    draw_shape("disc", 0, 96).save(content, "PNG")
    return content.getvalue()


def ask(server: Server, route: str = "predict") -> httpx.Response:
    return server.post(f"/v1/models/m/{route}", content=png(), headers={"Content-Type": "image/png"})


def leave_behind(server: Server, route: str) -> socket.socket:
    """A connection with a whole request on it."""
    host, port = server.address.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), timeout=20)
    head = f"POST /v1/models/m/{route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    opened.sendall(f"{head}Content-Length: {len(png())}\r\n\r\n".encode() + png())
    return opened


def test_nothing_is_computed_for_clients_that_have_gone(server: Server) -> None:
    before = [server.metric(name) for name in ("retop_batch_images_sum", "retop_heat_maps_total")]
    with server.decoders_held():
        gone = [leave_behind(server, "predict") for _ in range(20)] + [leave_behind(server, "heat-map")]
        server.wait_until_waiting(len(gone))
        for one in gone:
            one.close()
        # Their room is free while nothing has been decoded yet.
        server.wait_until_waiting(0)
    assert ask(server).status_code == 200
    assert ask(server, "heat-map").status_code == 200
    after = [server.metric(name) for name in ("retop_batch_images_sum", "retop_heat_maps_total")]
    assert after == [before[0] + 1, before[1] + 1]


def test_heat_maps_fill_their_lane_alone(server: Server) -> None:
    with ThreadPoolExecutor(3 * LANE) as pool:
        with server.decoders_held():
            maps = [pool.submit(ask, server, "heat-map") for _ in range(2 * LANE)]
            end = time.monotonic() + 60
            while sum(one.done() for one in maps) < LANE and time.monotonic() < end:
                time.sleep(0.05)
            refused = [one.result() for one in maps if one.done()]
            assert [answer.status_code for answer in refused] == [429] * LANE
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
            predictions = [pool.submit(ask, server) for _ in range(LANE)]
            server.wait_until_waiting(2 * LANE)
        assert [one.result().status_code for one in predictions] == [200] * LANE
        assert sorted(one.result().status_code for one in maps) == [200] * LANE + [429] * LANE

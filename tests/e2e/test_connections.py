"""Connections that send nothing, too little or too slowly keep nobody out, and fill no disk."""

import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from images import draw_shape
from serving import Server, running_server, wait_until

HEADER = b"POST /v1/models/m/predict HTTP/1.1\r\nHost: localhost\r\n"
LOG_BYTES = 100_000


def ask(server: Server, route: str = "predict") -> httpx.Response:
    content = BytesIO()
    draw_shape("disc", 0, 96).save(content, "PNG")
    headers = {"Content-Type": "image/png"}
    return server.post(f"/v1/models/m/{route}", content=content.getvalue(), headers=headers)


@contextmanager
def connected(server: Server, count: int = 1) -> Iterator[list[socket.socket]]:
    host, port = server.address.removeprefix("http://").split(":")
    opened = [socket.create_connection((host, int(port)), timeout=20) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


def dribble(one: socket.socket, seconds: float = 20.0) -> bytes:
    """Send a byte again and again until the server closes; all that it said."""
    said, end = b"", time.monotonic() + seconds
    one.settimeout(0.1)
    while time.monotonic() < end:
        try:
            # What was said before it was closed can be read after a byte could not be sent any more.
            with suppress(BrokenPipeError, ConnectionResetError):
                one.sendall(b"x")
            received = one.recv(2**16)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not received:
            return said
        said += received
    raise TimeoutError(f"the connection is still open; so far: {said!r}")


@pytest.fixture(scope="module")
def hurried(trained_run: Path) -> Iterator[Server]:
    with running_server(f"m={trained_run}", header_seconds=0.5, body_seconds=1.0, waiting_images=8, images=8) as server:
        yield server


def test_a_connection_that_says_nothing_is_closed(hurried: Server) -> None:
    with connected(hurried) as (one,):
        assert one.recv(100) == b""


def test_a_header_that_dribbles_in_is_408_the_first_and_the_next(hurried: Server) -> None:
    with connected(hurried, 2) as (first, kept):
        first.sendall(HEADER + b"X-A: ")
        kept.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered = b""
        while not answered.endswith(b'{"live":true}'):
            answered += kept.recv(2**16)
        kept.sendall(HEADER + b"X-A: ")
        for one in (first, kept):
            said = dribble(one)
            assert said.startswith(b"HTTP/1.1 408")
            assert b"0.5 s to arrive" in said


def test_a_header_that_begins_behind_a_request_is_408_too(hurried: Server) -> None:
    with connected(hurried) as (one,):
        one.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEADER + b"X-A: ")
        said = b""
        while received := one.recv(2**16):
            said += received
    assert [line[:12] for line in said.split(b"HTTP/1.1")[1:]] == [b" 200 OK\r\ndat", b" 408 Request"]


def test_bodies_that_do_not_come_take_no_place_of_those_that_do(hurried: Server) -> None:
    """More of them than images may wait."""
    rest = b"Content-Type: image/png\r\nContent-Length: 10\r\n\r\nx"
    with connected(hurried, 20) as slow:
        for one in slow[:10]:
            one.sendall(HEADER + rest)
        for one in slow[10:]:
            one.sendall(HEADER.replace(b"predict", b"heat-map") + rest)
        assert [ask(hurried, route).status_code for route in ("predict", "heat-map")] == [200, 200]


def test_a_body_that_dribbles_in_is_408_and_one_that_nobody_wants_ends_too(hurried: Server) -> None:
    rest = b"Content-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
    with connected(hurried, 2) as (wanted, unwanted):
        wanted.sendall(HEADER + rest)
        unwanted.sendall(HEADER.replace(b"models/m", b"models/other") + rest)
        assert dribble(wanted).startswith(b"HTTP/1.1 408")
        assert dribble(unwanted).startswith(b"HTTP/1.1 404")
    assert hurried.metric("retop_waiting_images") == 0


def test_an_answer_that_comes_before_the_body_is_not_taken_away_by_the_rest_of_it(hurried: Server) -> None:
    asked = HEADER.replace(b"models/m", b"models/other") + b"Connection: close\r\nContent-Length: 500000\r\n\r\n"
    with connected(hurried, 40) as clients:
        for one in clients:
            one.sendall(asked)
        time.sleep(0.3)
        # No more than some linger; the last ones do.
        for _ in range(5):
            clients[-1].sendall(bytes(100_000))
            time.sleep(0.05)
        said = b""
        while received := clients[-1].recv(2**16):
            said += received
    assert said.startswith(b"HTTP/1.1 404")
    assert b"no model" in said
    assert hurried.metric("retop_connections") < 5


@pytest.fixture(scope="module")
def cramped(trained_run: Path) -> Iterator[Server]:
    with running_server(f"m={trained_run}", open_files=80, decode_seconds=100.0) as server:
        yield server


def test_more_idle_connections_than_descriptors_keep_nobody_out(cramped: Server) -> None:
    with connected(cramped, 300) as idle:
        for one in idle[::2]:
            try:
                one.sendall(HEADER)
            except OSError:
                continue
        assert [ask(cramped).status_code for _ in range(5)] == [200] * 5
        assert 200 < cramped.metric("retop_connections_closed_total") < 320
        assert cramped.metric("retop_connections") < 80
    written = cramped.log.read_text()
    assert "Too many open files" not in written
    assert len(written) < LOG_BYTES


def test_more_slow_bodies_than_descriptors_keep_nobody_out(cramped: Server) -> None:
    with connected(cramped, 100) as slow:
        for one in slow:
            with suppress(OSError):
                one.sendall(HEADER + b"Content-Type: image/png\r\nContent-Length: 10\r\n\r\nx")
        assert httpx.get(f"{cramped.address}/live").status_code == 200
        assert [ask(cramped).status_code for _ in range(5)] == [200] * 5
        assert slow[0].recv(100).startswith((b"HTTP/1.1 408", b"HTTP/1.1 503"))
    assert cramped.metric('retop_connections_closed_total{reason="slow body"}') > 0


def ask_without_pause(server: Server, times: int) -> list[bytes]:
    """Ask on one connection for as long as the server keeps it; the status of each answer, empty for none."""
    request = HEADER + b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx"
    statuses, answers = [], 0
    while answers < times:
        with connected(server) as (one,):
            said = b""
            while answers < times and b"connection: close" not in said.lower():
                said = b""
                with suppress(OSError):
                    one.sendall(request)
                    said = one.recv(2**16)
                    while said and not said.endswith(b"}"):
                        said += one.recv(2**16)
                statuses.append(said[9:12])
                answers += said[9:12] == b"415"
                if not said:
                    break
    return statuses


def test_clients_that_keep_their_connection_take_turns_and_lose_no_request(cramped: Server) -> None:
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(ask_without_pause, cramped, 20) for _ in range(60)]
        statuses = [status for one in asked for status in one.result()]
    assert set(statuses) <= {b"415", b"503"}
    assert statuses.count(b"415") == 60 * 20


def test_without_descriptors_for_all_requests_some_are_503_and_the_others_answered(cramped: Server) -> None:
    with ThreadPoolExecutor(60) as pool:
        with cramped.decoders_held():
            asked = [pool.submit(ask, cramped) for _ in range(60)]
            wait_until(lambda: sum(one.done() for one in asked) > 0)
            time.sleep(0.5)
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 503)


def test_a_server_that_runs_out_of_descriptors_all_the_same_writes_little_and_recovers(trained_run: Path) -> None:
    with running_server(f"m={trained_run}") as server:
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 2, before[1]))
        with connected(server, 50):
            wait_until(lambda: "Too many open files" in server.log.read_text())
            time.sleep(2.5)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        assert ask(server).status_code == 200
        assert len(server.log.read_text()) < LOG_BYTES


def test_a_limit_of_open_files_that_leaves_no_connection_is_named(trained_run: Path) -> None:
    with pytest.raises(RuntimeError, match="ulimit -n 1024"), running_server(f"m={trained_run}", open_files=48):
        pytest.fail("it listens")

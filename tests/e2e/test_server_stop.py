"""The signal to stop: what was accepted is answered, what is new is told to come again, and nothing gets a 500."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx

from images import draw_shape
from serving import Server, running_server, wait_until

CLIENTS, IMAGES = 10, 4


def ask(server: Server) -> httpx.Response:
    content = BytesIO()
    draw_shape("disc", 0, 96).save(content, "PNG")
    images = [("images", (f"{n}.png", content.getvalue())) for n in range(IMAGES)]
    return server.post("/v1/models/m/predict", files=images)


def stop_when_full(server: Server, pool: ThreadPoolExecutor) -> list[httpx.Response]:
    """Fill the queue while nothing is decoded, send SIGTERM, and look; the answers of those who were in the queue."""
    with server.decoders_held():
        accepted = [pool.submit(ask, server) for _ in range(CLIENTS)]
        server.wait_until_waiting(CLIENTS * IMAGES)
        assert ask(server).status_code == 429
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.address}/ready").status_code == 503, 5)
        refused = ask(server)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "stops" in refused.json()["detail"]
        assert not any(one.done() for one in accepted)
    return [one.result() for one in accepted]


def test_a_full_queue_is_answered_after_sigterm_and_new_requests_are_refused(trained_run: Path) -> None:
    limits = {"waiting_images": CLIENTS * IMAGES, "decode_seconds": 100.0}
    with running_server(f"m={trained_run}", **limits) as server, ThreadPoolExecutor(CLIENTS) as pool:
        answers = stop_when_full(server, pool)
        assert [answer.status_code for answer in answers] == [200] * CLIENTS
        assert sum(len(answer.json()["predictions"]) for answer in answers) == CLIENTS * IMAGES
        assert server.process.wait(60) in (0, -signal.SIGTERM)


def test_what_cannot_be_answered_in_the_time_to_stop_is_told_to_come_again(trained_run: Path) -> None:
    options = ("--waiting", CLIENTS * IMAGES, "--stop-seconds", 0.5)
    with running_server(f"m={trained_run}", *options) as server, ThreadPoolExecutor(CLIENTS) as pool:
        with server.decoders_held():
            accepted = [pool.submit(ask, server) for _ in range(CLIENTS)]
            server.wait_until_waiting(CLIENTS * IMAGES)
            server.process.send_signal(signal.SIGTERM)
            answers = [one.result(60) for one in accepted]
        assert [answer.status_code for answer in answers] == [503] * CLIENTS
        for answer in answers:
            assert int(answer.headers["retry-after"]) >= 1
            assert "stops" in answer.json()["detail"]
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        assert "Traceback" not in server.log.read_text()


def test_a_client_that_was_answered_just_now_may_ask_once_more_while_the_server_stops(trained_run: Path) -> None:
    content = BytesIO()
    draw_shape("disc", 0, 96).save(content, "PNG")
    request = {"content": content.getvalue(), "headers": {"Content-Type": "image/png"}}
    with running_server(f"m={trained_run}") as server, httpx.Client(base_url=server.address) as client:
        assert client.post("/v1/models/m/predict", **request).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        refused = client.post("/v1/models/m/predict", **request)
        assert (refused.status_code, refused.headers["connection"]) == (503, "close")
        assert server.process.wait(60) in (0, -signal.SIGTERM)

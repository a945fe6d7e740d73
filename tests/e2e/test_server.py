"""The server: what it answers, what it refuses, and that nothing takes it down."""

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from images import draw_shape, write_large_photos
from malformed import malformed_files
from retop.predictor import Prediction, Predictor
from serving import Server, running_server, wait_until

RETOP = Path(sys.executable).with_name("retop")


def png(seed: int = 0, side: int = 96) -> bytes:
    content = BytesIO()
    draw_shape("disc", seed, side).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def server(trained_run: Path) -> Iterator[Server]:
    with running_server(
        f"first={trained_run}", f"second={trained_run}", "--body-limit", "1", "--waiting", "40"
    ) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=60) as opened:
        yield opened


def ask(client: httpx.Client, *contents: bytes, model: str = "first") -> httpx.Response:
    return client.post(
        f"/v1/models/{model}/predict?top=3", files=[("images", (f"{n}.png", c)) for n, c in enumerate(contents)]
    )


def test_every_form_of_request_gives_the_answer_of_predict(client: httpx.Client, trained_run: Path) -> None:
    expected = Predictor(trained_run).predict(png())
    assert isinstance(expected, Prediction)
    text = base64.b64encode(png()).decode()
    answers = [
        ask(client, png()),
        client.post("/v1/models/first/predict", json={"images": [text]}),
        client.post("/v1/models/second/predict", json={"images": [f"data:image/png;base64,{text}"]}),
        client.post("/v1/models/first/predict", content=png(), headers={"Content-Type": "image/png"}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"][0]
        assert found["label"] == expected.label
        given = {item["label"]: item["probability"] for item in found["top"]}
        assert given == pytest.approx(expected.probabilities, abs=1e-5)


def test_large_photos_get_the_answer_of_predict(client: httpx.Client, trained_run: Path, tmp_path: Path) -> None:
    """They are decoded at reduced scale."""
    predictor = Predictor(trained_run)
    for photo in write_large_photos(tmp_path):
        expected = predictor.predict(photo)
        assert isinstance(expected, Prediction)
        found = ask(client, photo.read_bytes()).json()["predictions"][0]
        given = {item["label"]: item["probability"] for item in found["top"]}
        assert given == pytest.approx(expected.probabilities, abs=1e-5)


def test_batched_equals_single(client: httpx.Client) -> None:
    contents = [png(seed) for seed in range(24)]
    single = [ask(client, content).json()["predictions"][0] for content in contents]
    together = ask(client, *contents).json()["predictions"]
    with ThreadPoolExecutor(8) as pool:
        at_once = [r.json()["predictions"][0] for r in pool.map(lambda content: ask(client, content), contents)]
    for others in (together, at_once):
        for one, other in zip(single, others, strict=True):
            assert one["label"] == other["label"]
            assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


def test_unreadable_images_are_named_and_the_others_answered(client: httpx.Client) -> None:
    answer = ask(client, png(), b"some text", png(1))
    assert answer.status_code == 200
    assert [item["error"] is None for item in answer.json()["predictions"]] == [True, False, True]


def malformed() -> dict[str, bytes]:
    whole = png()
    generator = np.random.default_rng(0)
    found = {f"cut {n}": whole[: int(n)] for n in generator.integers(0, len(whole) - 20, 15)}
    found |= {f"noise {n}": generator.bytes(int(n)) for n in (1, 10, 100, 5000)}
    for signature in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b"RIFF\0\0\0\0WEBP"):
        found[f"headed {signature!r}"] = signature + generator.bytes(300)
    bomb = BytesIO()
    Image.new("1", (40_000, 40_000)).save(bomb, "PNG")
    found |= {
        "empty": b"",
        "text": b"hello",
        "html": b"<html></html>",
        "svg": b"<svg></svg>",
        "pdf": b"%PDF-1.7",
        "bomb": bomb.getvalue(),
    }
    return found


def test_the_corpus_of_malformed_files_gives_answers_or_422(client: httpx.Client) -> None:
    for name, content in malformed_files(150):
        assert ask(client, content).status_code in (200, 422), name
    assert ask(client, png()).status_code == 200


def test_a_file_name_in_a_charset_of_the_clients_choice_is_no_defect(client: httpx.Client) -> None:
    part = (
        b'--a\r\nContent-Disposition: form-data; name="images"; filename="+2AA-.png"\r\n\r\n' + png() + b"\r\n--a--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=a; charset=utf-7"}
    assert client.post("/v1/models/first/predict", content=part, headers=headers).status_code == 200


def test_a_heat_map_is_of_one_image(client: httpx.Client) -> None:
    two = [("images", ("a.png", png())), ("images", ("b.png", png()))]
    assert client.post("/v1/models/first/heat-map", files=two).status_code == 422


def test_a_server_is_alive_before_it_is_ready(trained_run: Path) -> None:
    with running_server(f"m={trained_run}", wait_ready=False) as server:
        assert httpx.get(f"{server.address}/live").status_code == 200
        assert httpx.get(f"{server.address}/ready").status_code == 503
        refused = httpx.post(f"{server.address}/v1/models/m/predict", files=[("images", ("a.png", png()))])
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        wait_until(lambda: httpx.get(f"{server.address}/ready").status_code == 200)
        assert httpx.post(f"{server.address}/v1/models/m/predict", files=[("images", ("a.png", png()))]).is_success


def test_malformed_images_are_refused_with_422_whatever_their_form(client: httpx.Client) -> None:
    for name, content in malformed().items():
        assert ask(client, content).status_code == 422, name
        text = base64.b64encode(content).decode()
        assert client.post("/v1/models/first/predict", json={"images": [text]}).status_code == 422, name
    assert ask(client, png()).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"x", 415),
        ("", b"x", 415),
        ("application/json", b"{", 422),
        ("application/json", b"[]", 422),
        ("application/json", b'{"images": "x"}', 422),
        ("application/json", b'{"images": []}', 422),
        ("application/json", b'{"images": ["*"]}', 422),
        ("application/json", b"[" * 100_000, 422),
        ("multipart/form-data", b"x", 422),
        ("multipart/form-data; boundary=a", b"x", 422),
        ("multipart/form-data; boundary=a", b"--a--\r\n", 422),
    ],
)
def test_bodies_that_are_no_request_are_refused(client: httpx.Client, kind: str, body: bytes, status: int) -> None:
    answer = client.post("/v1/models/first/predict", content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize("mebibytes", [2, 80])
def test_too_large_bodies_are_413_chunked_ones_too(client: httpx.Client, mebibytes: int) -> None:
    headers = {"Content-Type": "image/png"}

    def chunks() -> Iterator[bytes]:
        for _ in range(16 * mebibytes):
            yield bytes(2**16)

    for body in (bytes(mebibytes * 2**20), chunks()):
        assert client.post("/v1/models/first/predict", content=body, headers=headers).status_code == 413
        # Unlike httpx, this client sends all of it before it looks for an answer.
        plain = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
        again = chunks() if not isinstance(body, bytes) else body
        plain.request("POST", "/v1/models/first/predict", again, headers)
        assert plain.getresponse().status == 413
        plain.close()
    assert ask(client, *[png(side=16)] * 33).status_code == 413
    assert ask(client, png()).status_code == 200


def test_what_is_not_there_is_404(client: httpx.Client) -> None:
    assert ask(client, png(), model="third").status_code == 404
    assert client.get("/nothing").status_code == 404
    assert (
        client.post(
            "/v1/models/first/heat-map?label=cat", content=png(), headers={"Content-Type": "image/png"}
        ).status_code
        == 404
    )


def test_heat_maps_are_pictures_of_the_networks_size(client: httpx.Client) -> None:
    answer = client.post("/v1/models/first/heat-map?label=disc", content=png(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    assert Image.open(BytesIO(answer.content)).size == (64, 64)


def test_models_say_what_they_are_and_metrics_count(client: httpx.Client) -> None:
    described = client.get("/v1/models").json()["models"]
    assert [model["name"] for model in described] == ["first", "second"]
    assert described[0]["classes"] == ["disc", "square", "stripes"]
    before = ask(client, png()) and client.get("/metrics").text
    assert 'retop_images_total{model="first",outcome="answered"}' in before
    assert "retop_batch_images_bucket" in before
    assert client.get("/live").json() == {"live": True}
    assert client.get("/ready").status_code == 200


def test_the_page_and_its_parts_are_served_and_name_no_other_server(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/page.css", "/page.js", "/docs.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "https://" not in answer.text
    assert "default-src 'self'" in client.get("/").headers["content-security-policy"]


def test_other_host_names_are_refused(client: httpx.Client) -> None:
    for host in ("evil.example", "localhost.evil.example", "localhost..", "."):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 421, host
    for host in ("LOCALHOST", "localhost.", "Localhost.:8000", "127.0.0.1", "[::1]:80"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200, host


def test_pages_of_other_servers_are_refused_those_of_other_ports_too(client: httpx.Client) -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        headers = {"Sec-Fetch-Site": site, "Content-Type": "image/png"}
        for route in ("predict", "heat-map"):
            answer = client.post(f"/v1/models/first/{route}", content=png(), headers=headers)
            assert answer.status_code == status, site
        assert client.get("/live", headers=headers).status_code == 200


def test_overload_is_429_with_retry_after_and_passes(server: Server) -> None:
    many = [("images", (f"{n}.png", png(n))) for n in range(20)]

    def burst(_: int) -> httpx.Response:
        return httpx.post(f"{server.address}/v1/models/first/predict", files=many, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(burst, range(24)))
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 429)
    assert burst(0).status_code == 200


def test_a_decoder_that_is_killed_is_replaced(server: Server, client: httpx.Client) -> None:
    decoders = server.decoders()
    assert len(decoders) == 2
    for pid in decoders:
        os.kill(pid, 9)
    # No image is blamed for it.
    assert [ask(client, png()).status_code for _ in range(3)] == [200] * 3


def test_the_server_listens_on_this_machine_only(server: Server) -> None:
    port = int(server.address.rpartition(":")[2])
    hexadecimal = f":{port:04X} "
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()
        if hexadecimal in line and " 0A " in line
    ]
    assert listening == [f"0100007F{hexadecimal.strip()}"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--host", "0.0.0.0"), 2, "can be reached from other machines"),
        (("--api-key-file", "nothing"), 2, "cannot be read"),
    ],
)
def test_a_server_for_others_without_a_key_is_refused(
    trained_run: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    ended = subprocess.run(
        [RETOP, "serve", trained_run, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == code
    assert message in ended.stderr


def test_a_key_is_asked_for_and_stopping_loses_no_accepted_request(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-key-of-sixteen-or-more\n")
    with running_server(f"m={trained_run}", "--api-key-file", tmp_path / "key", "--reject-below", "0.99999") as server:
        url = f"{server.address}/v1/models/m/predict"
        key = {"Authorization": "Bearer a-key-of-sixteen-or-more"}
        image = [("images", ("a.png", png()))]
        assert httpx.post(url, files=image).status_code == 401
        assert httpx.post(url, files=image, headers={"X-API-Key": "wrong"}).status_code == 401
        assert httpx.get(f"{server.address}/").status_code == 200
        assert httpx.post(url, files=image, headers=key).json()["predictions"][0]["rejected"]
        answered, lost, stopping = [0], [], threading.Event()

        def keep_asking() -> None:
            with httpx.Client(timeout=60, headers=key) as own:
                while True:
                    try:
                        answer = own.post(url, files=image)
                        if answer.status_code == 503 and stopping.is_set():
                            return
                        if answer.status_code != 200:
                            lost.append(answer.text)
                            return
                        answered[0] += 1
                    except httpx.ConnectError:
                        return
                    except httpx.HTTPError as error:
                        lost.append(repr(error))
                        return

        clients = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in clients:
            thread.start()
        while answered[0] < 8:
            time.sleep(0.01)
        stopping.set()
        code = server.stop()
        for thread in clients:
            thread.join(60)
    assert lost == []
    assert code in (0, -15)


def test_the_openapi_description_names_every_route(client: httpx.Client) -> None:
    described = json.loads(client.get("/openapi.json").text)
    assert set(described["paths"]) == {
        "/live",
        "/ready",
        "/metrics",
        "/v1/models",
        "/v1/models/{name}/predict",
        "/v1/models/{name}/heat-map",
    }

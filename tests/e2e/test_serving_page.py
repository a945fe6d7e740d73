"""The server's page in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from images import draw_shape
from serving import Server, running_server

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-browser")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(trained_run: Path) -> Iterator[Server]:
    with running_server(f"first={trained_run}", f"second={trained_run}", "--reject-below", "0.99999") as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("disc", "stripes"):
        draw_shape(name, 1, 96).save(folder / f"{name}.png")
    (folder / "note.txt").write_text("no image")
    return [str(folder / name) for name in ("disc.png", "stripes.png", "note.txt")]


def test_two_images_and_a_text_file_get_answers_and_a_friendly_error(browser, server: Server, files: list[str]) -> None:  # type: ignore[no-untyped-def]
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(server.address)
    page.set_input_files("#files", files)
    playwright.expect(page.locator(".said")).to_have_count(4, timeout=60_000)
    playwright.expect(page.locator(".problem")).to_have_count(2, timeout=60_000)
    assert "not an image" in page.locator(".problem").first.inner_text()
    assert page.locator(".said").first.inner_text() == "None of these"
    assert "Refuses below" in page.locator("article").last.inner_text()
    assert problems == []
    page.close()


def test_two_dropped_images_are_answered_and_a_text_file_gets_a_friendly_error(browser, server: Server) -> None:  # type: ignore[no-untyped-def]
    page = browser.new_page()
    page.goto(server.address)
    page.wait_for_selector(".model")
    held = page.evaluate_handle(
        """async () => {
            const canvas = new OffscreenCanvas(80, 60);
            canvas.getContext('2d').fillRect(10, 10, 30, 30);
            const transfer = new DataTransfer();
            for (const name of ['drawn.png', 'again.png'])
                transfer.items.add(new File([await canvas.convertToBlob()], name, {type: 'image/png'}));
            transfer.items.add(new File(['no image'], 'note.txt', {type: 'text/plain'}));
            return transfer;
        }"""
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": held})
    playwright.expect(page.locator(".said")).to_have_count(4, timeout=60_000)
    playwright.expect(page.locator(".problem")).to_have_count(2, timeout=60_000)
    assert page.locator("article h2").all_inner_texts() == ["note.txt", "again.png", "drawn.png"]
    page.close()


def test_everything_works_by_keyboard_at_phone_width(browser, server: Server, files: list[str]) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_selector(".model")
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "choose":
            break
    assert page.evaluate("document.activeElement.id") == "choose"
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Enter")
    chosen.value.set_files(files[0])
    playwright.expect(page.locator(".said")).to_have_count(2, timeout=60_000)
    page.locator(".answer button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("img.heat", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_a_pasted_image_is_answered_and_a_model_can_be_left_out(browser, server: Server) -> None:  # type: ignore[no-untyped-def]
    page = browser.new_page()
    page.goto(server.address)
    page.wait_for_selector(".model")
    page.locator(".model input").first.uncheck()
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(80, 60);
            canvas.getContext('2d').fillRect(10, 10, 30, 30);
            const pasted = new DataTransfer();
            pasted.items.add(new File([await canvas.convertToBlob()], 'pasted.png', {type: 'image/png'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: pasted}));
        }"""
    )
    playwright.expect(page.locator(".said")).to_have_count(1, timeout=60_000)
    assert page.locator(".answer h3").inner_text() == "second"
    page.close()


def test_the_page_asks_for_the_key_and_takes_it(browser, trained_run: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "key").write_text("a-key-of-sixteen-or-more")
    with running_server(f"m={trained_run}", "--api-key-file", tmp_path / "key") as guarded:
        page = browser.new_page()
        page.goto(guarded.address)
        for key, said in (
            ("wrong", "does not take this key"),
            ("€", "no key has"),
            ("a-key-of-sixteen-or-more", "1 model"),
        ):
            page.fill("#key", key)
            page.keyboard.press("Enter")
            playwright.expect(page.locator("#state")).to_contain_text(said, timeout=60_000)
        assert page.locator("#key-form").is_hidden()
        page.close()

"""The report in a real browser: no error, nothing from the network, no overflow, every figure drawn."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import retop
from example_records import contender, write_comparison
from retop.api import demo_data
from retop.cli.demo import SETTINGS
from retop.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "photos"
    folder.mkdir()
    long = "a_backbone_with_quite_a_long_name.in22k_ft_in1k"
    contenders = [
        contender(long, accuracy=0.97, seeds=2),
        contender("b", accuracy=0.9, seeds=2),
        contender("probe-b", "probe", accuracy=0.9, seeds=2),
        contender("scratch", "scratch", accuracy=0.7, seeds=2),
    ]
    write_comparison(folder, contenders)
    other = folder.with_name("flowers")
    other.mkdir()
    write_comparison(other, [contender("c", n=300, classes=tuple(f"a flower of kind {k}" for k in range(30)))])
    digits = folder.with_name("digits")
    digits.mkdir()
    write_comparison(digits, [contender("d", n=300, classes=tuple(f"digit-{k}" for k in range(10)))])
    return write_report([folder, other, digits], out=folder / "all.html")


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's report, of a shorter demo."""
    settings = dict(one.split("=") for one in SETTINGS) | {
        "data.images_per_class": 15,
        "stage1.epochs": 3,
        "scratch.stage1.epochs": 0,
        "stage2.epochs": 2,
        "scratch.stage2.epochs": 2,
    }
    folder = tmp_path_factory.mktemp("demo") / "run"
    backbones = ["pocket_vgg", "pocket_resnet"]
    retop.compare(demo_data(), backbones, settings=settings, baselines=["probe", "scratch"], out=folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def cats_dogs_page(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The report on cats and dogs, with heat maps, of a shorter comparison."""
    settings = {
        "data.images_per_class": 20,
        "image_size": 96,
        "views.count": 1,
        "stage1.epochs": 3,
        "stage2.epochs": 1,
    }
    folder = tmp_path_factory.mktemp("cats_dogs") / "run"
    backbones = ["mobilenetv2_100", "mobilenetv1_100"]
    weights = shared / "weights"
    retop.compare(
        shared / "data/cats_dogs", backbones, weights=weights, settings=settings, baselines=["probe"], out=folder
    )
    return retop.write_report(folder, explain=True)


def opened(page: "Page", file: Path) -> list[str]:
    """Open the page to the end of its drawing; what went wrong on the way."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=120_000)
    return wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_is_whole_at_every_width_and_colour(browser: "Browser", page_file: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    assert opened(page, page_file) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    figures = page.evaluate("document.querySelectorAll('[data-figure]').length")
    drawn = page.evaluate(
        "[...document.querySelectorAll('[data-figure]')].filter(one => one.querySelector('.main-svg .xy')).length"
    )
    assert figures == drawn > 20
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_legends_and_titles_are_seen_whole_and_squeeze_no_figure(
    browser: "Browser", page_file: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    opened(page, page_file)
    heights = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[data-figure]')].map(one => [one.dataset.figure,"
        " [Number(one.dataset.height), one.querySelector('.xy').getBoundingClientRect().height]]))"
    )
    outside = page.evaluate(
        "[...document.querySelectorAll('[data-figure]')].filter(one => [...one.querySelectorAll("
        "'.legend .bg, .legend text, .xtitle, .ytitle')].some(part => { const [a, b] = [part, one].map(each => "
        "each.getBoundingClientRect()); return a.top < b.top - 1 || a.bottom > b.bottom + 1 || a.left < b.left - 1 "
        "|| a.right > b.right + 1; })).map(one => one.dataset.figure)"
    )
    assert outside == []
    # Of the height that was planned, all but the row of a legend, labels and a title is the figure's own.
    assert [name for name, (planned, drawn) in heights.items() if drawn < planned - 150] == []
    assert page.evaluate("[...document.querySelectorAll('.legend .scrollbar')].every(one => !one.getBBox().height)")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["demo_page", "cats_dogs_page"])
def test_pages_of_real_comparisons_are_whole(
    browser: "Browser", request: pytest.FixtureRequest, name: str, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    assert opened(page, request.getfixturevalue(name)) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        page.evaluate(
            "[...document.querySelectorAll('[data-figure]')].filter(one => !one.querySelector('.main-svg .xy')).length"
        )
        == 0
    )
    assert page.evaluate("document.querySelectorAll('[data-figure]').length") >= 10
    assert page.evaluate("[...document.images].filter(one => !(one.complete && one.naturalWidth)).length") == 0
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_confusion_matrix_of_ten_classes_is_seen_whole(browser: "Browser", page_file: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    opened(page, page_file)
    cut = page.evaluate(
        "[...document.querySelectorAll('.matrix')].filter(m => m.offsetWidth > m.parentNode.clientWidth).length"
    )
    assert cut == 0
    page.close()


def test_a_cell_opens_its_images_from_the_keyboard(browser: "Browser", page_file: Path) -> None:
    page = browser.new_page()
    opened(page, page_file)
    page.locator(".matrix button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    assert page.locator("dialog li").count() > 0
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    page.close()


def test_everything_that_can_be_used_has_a_name_and_a_place_in_the_tab_order(
    browser: "Browser", page_file: Path
) -> None:
    page = browser.new_page()
    opened(page, page_file)
    nameless = page.evaluate(
        "[...document.querySelectorAll('main button, main a, main [role=img], main [role=region], main img')]"
        ".filter(one => !(one.getAttribute('aria-label') || one.textContent.trim() || one.alt)).length"
    )
    assert nameless == 0
    assert page.evaluate("document.documentElement.lang") == "en"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.close()


def test_it_prints_in_light_colours(browser: "Browser", page_file: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    opened(page, page_file)
    content = page.pdf()
    assert content.startswith(b"%PDF")
    assert len(content) > 50_000
    page.close()


def test_no_table_is_cut_off_on_paper(browser: "Browser", page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 718, "height": 1000})
    page.emulate_media(media="print")
    opened(page, page_file)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    cut = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth"
        " || one.scrollHeight > one.clientHeight + 1).map(one => one.getAttribute('aria-label'))"
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    scrolls = "[...document.querySelectorAll('.scroll')].map(one => getComputedStyle(one).overflow)"
    assert set(page.evaluate(scrolls)) == {"visible"}
    page.close()


def test_headings_of_a_confusion_matrix_stand_over_the_middle_of_their_columns(
    browser: "Browser", page_file: Path
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    opened(page, page_file)
    beside = page.evaluate(
        "[...document.querySelectorAll('.matrix thead th')].map(one => { const text = document.createRange();"
        " text.selectNodeContents(one); const [a, b] = [text, one].map(it => it.getBoundingClientRect());"
        " return Math.abs(a.left + a.right - b.left - b.right) / 2; })"
    )
    assert beside and max(beside) < 2
    page.close()


def test_paper_has_the_recipe_the_shades_and_nothing_folded(browser: "Browser", page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 718, "height": 1000})
    opened(page, page_file)
    page.emulate_media(media="print")
    seen = "[...document.querySelectorAll('details')].filter(one => one.offsetHeight).map(one => one.className)"
    assert set(page.evaluate(seen)) == {"printed"}
    recipe = "[...document.querySelectorAll('details.printed')].map(one => one.offsetHeight)"
    assert min(page.evaluate(recipe)) > 1000
    shades = "[...document.querySelectorAll('.matrix button')].map(one => getComputedStyle(one).printColorAdjust)"
    assert set(page.evaluate(shades)) == {"exact"}
    page.close()


def test_sections_of_every_folder_begin_on_a_line_of_their_own(browser: "Browser", page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    opened(page, page_file)
    beginnings = "[...document.querySelectorAll('nav strong')].map(one => one.getBoundingClientRect().left)"
    lefts = page.evaluate(beginnings)
    assert len(lefts) == 3 and len(set(lefts)) == 1
    page.close()

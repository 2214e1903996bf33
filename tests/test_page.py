"""report.html in a browser: what its script does, at which widths, in print, and for whom."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made import make

from bench.boards.rows import suite_rows
from bench.reporting.browser import sentences, sides
from bench.reporting.folder import write_suite
from bench.reporting.page import write_page
from bench.reporting.summary import Summary

WIDTHS = (390, 800, 1400)
LARGEST = 3_000_000  # bytes


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan, work = make(tmp_path_factory.mktemp("runs"))
    folder = tmp_path_factory.mktemp("report")
    summary, rows = Summary.of(plan, work), suite_rows(plan, work)
    write_suite(summary, rows, folder)
    return write_page(summary, rows, folder)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")
    path = os.environ.get("BENCH_CHROMIUM") or shutil.which("chromium")
    with driver.sync_playwright() as started:
        try:
            browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except driver.Error as error:
            pytest.skip(f"no Chromium: playwright install chromium ({str(error).splitlines()[0]})")
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, page: Path) -> Iterator[Any]:
    """The opened page; an error in its console fails the test."""
    opened = chromium.new_page(viewport={"width": 1400, "height": 900})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    opened.on("request", lambda r: errors.append(r.url) if not _own(r.url, page) else None)
    opened.goto(page.as_uri())
    yield opened
    opened.close()
    assert not errors


def _own(address: str, page: Path) -> bool:
    return address.startswith(("data:", page.as_uri()))


def test_the_page_is_small_and_says_all_without_its_script(chromium: Any, page: Path) -> None:
    assert page.stat().st_size < LARGEST
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.locator(".verdict li").count() >= 1
    assert tab.locator("#board tbody tr").count() == 3
    assert tab.locator("#board th").last.is_visible()
    assert not tab.locator("#claim-filters").is_visible()
    context.close()


def test_sorting_keeps_floors_below_and_goes_into_the_address(tab: Any, page: Path) -> None:
    names = tab.locator("#board tbody th.name")
    assert names.all_inner_texts() == ["BASE", "good", "constant report"]
    button = tab.locator('#board th[data-key="BLEU-4"] button')
    button.click()
    assert names.all_inner_texts() == ["good", "BASE", "constant report"]
    head = tab.locator('#board th[data-key="BLEU-4"]')
    assert head.get_attribute("aria-sort") == "descending"
    button.focus()
    tab.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert "sort=BLEU-4&order=ascending" in tab.url
    tab.goto(page.as_uri() + "#sort=BLEU-4")
    tab.reload()
    assert names.all_inner_texts() == ["good", "BASE", "constant report"]


def test_columns_are_chosen_and_remembered(tab: Any) -> None:
    head = tab.locator('#board th[data-key="BLEU-1"]')
    assert not head.is_visible()
    tab.locator("#chooser summary").click()
    tab.locator('#chooser input[value="BLEU-1"]').check()
    assert head.is_visible()
    tab.reload()
    assert head.is_visible()
    tab.locator("#chooser summary").click()
    tab.locator('#chooser input[value="BLEU-1"]').uncheck()
    assert "columns" not in tab.url


def test_the_first_column_stays_while_the_table_scrolls(tab: Any) -> None:
    tab.set_viewport_size({"width": 390, "height": 800})
    name = tab.locator("#board tbody th.name").first
    before = name.bounding_box()["x"]
    tab.locator("#board").evaluate("t => { t.parentElement.scrollLeft = 200 }")
    assert name.bounding_box()["x"] == pytest.approx(before, abs=1)


def test_studies_are_browsed_with_keys(tab: Any) -> None:
    study, texts = tab.locator("#study"), tab.locator("#texts article")
    assert texts.count() == 3  # the reference and two rows
    first = study.input_value()
    tab.locator("#next").focus()
    tab.keyboard.press("ArrowRight")
    assert study.input_value() != first
    assert "study=" in tab.url
    there = tab.locator("#texts").inner_text()
    tab.reload()
    assert tab.locator("#texts").inner_text() == there
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.locator('#pick input[value="good"]').uncheck()
    assert texts.count() == 2
    assert tab.locator("#films img").count() == 2


def test_light_and_dark(tab: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(background)
    tab.locator("#theme").click()
    assert tab.evaluate(background) != light
    assert "theme=dark" in tab.url
    tab.reload()
    assert tab.evaluate(background) != light


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_print_shows_every_column(tab: Any) -> None:
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 1047, "height": 718})  # A4 across, within its margins
    heads = tab.locator("#board thead th")
    assert all(heads.nth(i).is_visible() for i in range(heads.count()))
    board = tab.locator("#board").bounding_box()
    assert board["x"] + board["width"] <= 1047


def test_accessibility(tab: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe")
    for theme in ("light", "dark"):
        tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        found = axe.Axe().run(tab).response["violations"]
        said = [(v["id"], n["html"][:120]) for v in found for n in v["nodes"]]
        assert not said, (theme, said[:8])


# --- the data of the study browser ---------------------------------------------------------------


def test_sentences_and_sides() -> None:
    text = "Heart size is normal. There is a 2.5 cm nodule on the left."
    assert sentences(text) == ["Heart size is normal.", "There is a 2.5 cm nodule on the left."]
    assert sentences("heart size is normal . lungs are clear .")[1] == "lungs are clear."
    assert sides("small left pleural effusion") == "L"
    assert sides("bibasilar atelectasis") == "LR"
    assert sides("the heart is enlarged") == ""

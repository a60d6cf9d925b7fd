"""Report and validation page in a real browser: nothing fetched, nothing cut off, legible, reachable by keyboard.

`make screenshots` keeps what the browser showed.
"""

import json
import os
from pathlib import Path

import pytest
from browser import (
    CHROMIUM,
    DESKTOP,
    DRIVER,
    PHONE,
    contrasts,
    look,
    opened,
    outside,
    screenshot,
    shown_text,
    tab_through,
)
from pages import EVIL, PAGES
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver, which this machine lacks"
)
LEAST_CONTRAST = 4.5


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module", params=PAGES)
def page(request, browser, tmp_path_factory):
    """One page after the other, each just opened: its name, what was fetched for it, and what the console said."""
    path = PAGES[request.param](tmp_path_factory.mktemp(request.param))
    browser.get("about:blank")
    for kind in ("performance", "browser"):
        browser.get_log(kind)
    look(browser)
    browser.get(path.as_uri())
    return request.param, requests(browser), browser.get_log("browser")


def requests(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def test_it_opens_alone_and_without_complaint(browser, page):
    name, fetched, console = page
    assert console == []
    assert fetched and all(url.startswith(("file:", "data:")) for url in fetched)
    assert [url for url in fetched if url.startswith("file:")] == [browser.current_url], name


def test_language_title_and_one_heading(browser, page):
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert browser.title
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_all_text_is_inside_and_stands_out(browser, page, width, scheme):
    look(browser, width=width, scheme=scheme)
    if folder := os.environ.get("SCREENSHOTS"):
        screenshot(browser, Path(folder) / f"{page[0]}-{width}-{scheme}.png")
    assert outside(browser, width=width) == []
    texts = contrasts(browser)
    assert len(texts) > 50
    assert [(text, round(ratio, 2)) for text, ratio in texts if ratio < LEAST_CONTRAST] == []


def test_tab_reaches_every_stop_in_order_and_shows_it(browser, page):
    look(browser)
    count, reached = tab_through(browser)
    assert count >= 1
    assert reached == [(i, True) for i in range(count)]


def test_enter_opens_what_is_folded(browser, page):
    look(browser)
    for summary in browser.find_elements(By.TAG_NAME, "summary"):
        folded = summary.find_element(By.XPATH, "..")
        assert folded.get_attribute("open") is None
        summary.send_keys(Keys.ENTER)
        assert folded.get_attribute("open") is not None
    assert (page[0] == "report") == bool(browser.find_elements(By.TAG_NAME, "details"))


def test_every_picture_has_words(browser, page):
    drawings = browser.find_elements(By.CSS_SELECTOR, "main figure svg")
    assert len(drawings) >= 4
    assert all(d.get_attribute("role") == "img" and len(d.get_attribute("aria-label")) > 20 for d in drawings)
    assert all(i.get_attribute("alt") for i in browser.find_elements(By.TAG_NAME, "img"))


def test_names_with_markup_are_text(browser, page):
    assert browser.find_elements(By.CSS_SELECTOR, "img, script, iframe") == []
    assert (EVIL in shown_text(browser)) == (page[0] != "report")

"""A headless Chromium of the system's, without network, and what a reader of a page meets there."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
DESKTOP, PHONE = 1280, 390
_HEIGHT = 844
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

# Every text that is shown, with the contrast (WCAG 2) of its colour to the nearest opaque ground behind it.
_CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = text => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]).concat(1);
const light = c => [0, 1, 2].map(i => c[i] / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = element => {
  if (!element) return [255, 255, 255, 1];
  const own = rgba(getComputedStyle(element).backgroundColor);
  return own[3] >= 1 ? own : over(own, ground(element.parentElement));
};
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
  if (!text || !element.checkVisibility() || element.closest('style')) continue;
  const style = getComputedStyle(element), behind = ground(element);
  const ink = over(rgba(element.closest('svg') ? style.fill : style.color), behind);
  const [high, low] = [light(ink), light(behind)].sort((a, b) => b - a);
  found.push([text.slice(0, 60), (high + 0.05) / (low + 0.05)]);
}
return found;
"""
# What lies beyond the left or right edge of the page, but for what scrolls within its own frame.
_OUTSIDE = """
const width = arguments[0], found = [];
if (document.scrollingElement.scrollWidth > width) found.push(`the page: ${document.scrollingElement.scrollWidth} px`);
for (const element of document.querySelectorAll('main *')) {
  const box = element.getBoundingClientRect();
  if (element.closest('.scroll table') || !element.textContent.trim() || !box.width) continue;
  if (box.left < -0.5 || box.right > width + 0.5) found.push(element.textContent.trim().slice(0, 60));
}
return found;
"""
_STOPS = """
window.stops = [...document.querySelectorAll('a[href], summary, button, input, select, [tabindex="0"]')]
  .filter(element => element.checkVisibility());
return window.stops.length;
"""
_STOP = """
const active = document.activeElement, style = getComputedStyle(active);
return [window.stops.indexOf(active), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0];
"""


@contextmanager
def opened(profile: Path) -> Iterator[Chrome]:
    """Start a browser with a fresh profile; it ends with the block."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = Chrome(options=options, service=ChromeService(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def look(browser: Chrome, *, width: int = DESKTOP, scheme: str = "light") -> None:
    """Show the page at a width, on a light or a dark screen."""
    size = {"width": width, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": width <= PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def screenshot(browser: Chrome, path: Path) -> None:
    """Write the whole page as it is shown now."""
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(picture["data"]))


def contrasts(browser: Chrome) -> list[tuple[str, float]]:
    """Return every text that is shown with its contrast to what is behind it."""
    return [(text, float(ratio)) for text, ratio in browser.execute_script(_CONTRASTS)]


def outside(browser: Chrome, *, width: int) -> list[str]:
    """Return what reaches over the page's edges."""
    return browser.execute_script(_OUTSIDE, width)


def tab_through(browser: Chrome) -> tuple[int, list[tuple[int, bool]]]:
    """Press Tab once for every stop: their number, and for each press which one it led to and whether that shows."""
    count = browser.execute_script(_STOPS)
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in range(count):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        place, visible = browser.execute_script(_STOP)
        reached.append((place, visible))
    return count, reached


def shown_text(browser: Chrome) -> str:
    """Return all text of the page, that of its drawings too."""
    return browser.find_element(By.TAG_NAME, "main").get_attribute("textContent") or ""

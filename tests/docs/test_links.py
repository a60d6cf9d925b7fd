"""No link of any page leads nowhere, and every page of docs can be reached from the first."""

import re
from fnmatch import fnmatch

import pytest

from markdown_pages import DOCS, ROOT, anchors, links, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: no such heading"


def test_every_page_is_in_the_navigation():
    lines = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    named = [line.strip() for line in lines if re.fullmatch(r"[\w/*-]+", line.strip())]
    ours = [p.relative_to(DOCS).with_suffix("").as_posix() for p in pages() if p.is_relative_to(DOCS)]
    assert len(ours) > 30
    assert [name for name in ours if name != "index" and not any(fnmatch(name, pattern) for pattern in named)] == []


def test_a_broken_link_would_be_found():
    text = "# One heading: two\n\n[a](b.md#c) ![d](e.png) `[f](g)`\n\n```text\n[h](i)\n# j\n```\n"
    assert links(text) == ["b.md#c", "e.png"]
    assert anchors(text) == {"one-heading-two"}

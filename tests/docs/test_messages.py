"""Every error and warning of the code has the house's form, and the page that lists them is that of the code."""

import importlib.util
import re

import pytest

from markdown_pages import DOCS

SPEC = importlib.util.spec_from_file_location("messages", DOCS / "messages.py")
assert SPEC is not None and SPEC.loader is not None
listing = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(listing)

FOUND = listing.messages()
ERRORS = [message for message in FOUND if message.kind == "error" and not message.passes_on]
WARNINGS = [message for message in FOUND if message.kind == "warning" and not message.passes_on]
OPENING = re.compile("[a-z`‹]|LSL |NWB |ZeroMQ |Lab ")
JUDGED = re.compile(r"[^ ]+(?: and `\w+`)?:? must (?!not)")
CAME = re.compile(r", got |, but |; it |, now |‹|\bholds?\b|, which ")
REMEDY = re.compile(
    r"(?:Add|Analyse|Bin|Bring|Check|Choose|Compare|Convert|Copy|Count|Cut|Distil|Divide|Empty|Export|Fetch|Fit|Free|"
    r"Give|Install|Leave|Let|Log|Look|Lower|Make|Map|Mend|Move|Multiply|Name|Number|Open|Predict|Prepare|Put|Raise|Read|"
    r"Record|Remove|Rename|Report|Resample|Restore|Run|Sample|Save|Say|See|Send|Set|Simulate|Sort|Split|Start|Swap|Take|"
    r"Train|Transpose|Update|Use|Wait|Write)\b.+|(?:Are|Do|Does|Is) .+\?|The first: ‹why›|‹(?:remedy|why|fetch_again)›"
)


def where(message):
    return f"{message.file}:{message.line}: {message.text}"


def wrong(messages, is_right):
    return [where(message) for message in messages if not is_right(message)]


def test_all_of_them_are_seen():
    assert len(ERRORS) > 300
    assert {message.room for message in ERRORS} == set(listing._ROOMS)


def test_each_is_one_line():
    assert not wrong(FOUND, lambda message: "\n" not in message.text)


def test_each_starts_with_the_argument_or_what_it_is_about():
    assert not wrong(FOUND, lambda message: OPENING.match(message.text))


def test_a_rule_on_a_value_says_what_came():
    judged = [message for message in ERRORS if JUDGED.match(message.cause)]
    assert len(judged) > 100
    assert not wrong(judged, lambda message: CAME.search(message.cause))


def test_each_error_ends_with_what_to_do():
    assert not wrong(ERRORS, lambda message: REMEDY.fullmatch(message.cure))


def test_each_warning_says_what_came_and_what_to_look_at():
    assert len(WARNINGS) > 4
    assert not wrong(WARNINGS, lambda message: CAME.search(message.cause) and REMEDY.fullmatch(message.cure))


def test_the_last_sentence_is_whole():
    endings = (".", "?", "›", "…", "'", "`")
    assert not wrong(
        ERRORS, lambda message: message.cure.endswith(endings) or message.cure.startswith(("Install", "Run"))
    )


@pytest.mark.parametrize(
    ("text", "is_remedy"),
    [
        ("`x` must be 1, got ‹x›. Give 1.", True),
        ("`x` must be 1, got ‹x›.", False),
        ("`x` must be 1, got ‹x›. It is 2.", False),
    ],
)
def test_the_form_is_told_from_what_is_none(text, is_remedy):
    message = listing.Message("error", "", "file.py", 1, text)
    assert bool(REMEDY.fullmatch(message.cure)) == is_remedy


def test_the_page_is_that_of_the_code():
    assert (DOCS / "messages.md").read_text(encoding="utf-8") == listing.page(), "run `make messages`"

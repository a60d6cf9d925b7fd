"""The page is one whole file that needs no network, hides no caution, and says what is missing."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_out import MEANS, prediction_arrays, results_table, run_record, write_fake
from matplotlib.image import imread

from spikefield.errors import InputError
from spikefield.report.page import minus, unbroken, write_report

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Collects tags with their attributes, headings, and the text that a reader sees."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.text, self._open = html, [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"style", "title"} & set(self._open):
            self.text += data

    def all(self, *names):
        return [attrs for tag, attrs in self.tags if tag in names]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = write_fake(tmp_path_factory.mktemp("whole"), maps=60)
    path = write_report(out)
    assert path == out / "report.html"
    return out, Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """One seed, a leaking split, a caution, markup in every name, and neither curves nor representations nor splits."""
    out = tmp_path_factory.mktemp("hostile")
    results = results_table(
        seeds=(0,), sessions=("s<i>0", "s1"), means=MEANS | {"null": (0.3, 0.3), f"{EVIL}-lfp": (0.1, 0)}
    )
    results["metric"] = results["metric"].str.replace("hand vx", EVIL)
    results.to_csv(out / "results.csv", index=False)
    run = run_record(seeds=(0,), sessions=("s<i>0", "s1"), leaks=True, caution=f"trial time predicts position {EVIL}")
    run |= {"command": f"spikefield {EVIL}", "chosen": [EVIL], "hardware": {EVIL: EVIL}, "versions": {EVIL: EVIL}}
    run["stages"][0]["stage"] = EVIL
    run["data"]["sessions"][0] |= {"subject": EVIL, "behavior": [EVIL], "units": None}
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (out / "predictions").mkdir()
    arrays = prediction_arrays() | {"names": np.array([EVIL, "y"])}
    del arrays["pred_teacher"]
    np.savez(out / "predictions" / "s1.npz", **arrays)
    (out / "figures").mkdir()
    (out / "figures" / "map.png").write_bytes(b"of an earlier run")
    return out, Page(write_report(out).read_text(encoding="utf-8"))


@pytest.mark.parametrize("which", ["whole", "hostile"])
def test_one_small_file_that_fetches_nothing(which, request):
    _, page = request.getfixturevalue(which)
    assert len(page.html.encode()) < 3_000_000
    assert not page.all("script", "link", "iframe", "object")
    for attrs in (a for _, a in page.tags):
        for name in ("src", "href", "xlink:href", "action", "poster"):
            assert attrs.get(name, "#").startswith(("#", "data:")), attrs
    assert "@import" not in page.html and not re.search(r"url\((?!#)", page.html)


@pytest.mark.parametrize("which", ["whole", "hostile"])
def test_names_from_the_data_stay_text(which, request):
    _, page = request.getfixturevalue(which)
    assert "<script" not in page.html and "<i>" not in page.html


def test_hostile_names_are_there_as_text(hostile):
    assert EVIL in hostile[1].text and "s<i>0" in hostile[1].text


def test_headings_stand_in_order(whole):
    headings = re.findall(r"<h([123])[^>]*>(.*?)</h", whole[1].html)
    assert [text for level, text in headings if level != "3"] == [
        "Can the field potential stand in for spikes?",
        "What was compared, and on which data",
        "How well each model reads behaviour",
        "Decoded against true behaviour",
        "Training",
        "What the representations keep",
        "All scores",
        "How it was measured",
        "How to run it again",
    ]


def test_a_reader_who_does_not_see_the_figures_gets_words(whole):
    page = whole[1]
    drawings = page.all("svg")
    assert len(drawings) == 10 and all(len(a["aria-label"]) > 40 and a["role"] == "img" for a in drawings)
    assert page.all("html")[0]["lang"] == "en"
    assert "distilled 0.82 [0.81, 0.84]" in drawings[0]["aria-label"]


def test_no_id_is_used_twice_and_every_label_is_there(whole):
    ids = [attrs["id"] for _, attrs in whole[1].tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in whole[1].tags:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
        if attrs.get("xlink:href", "").startswith("#"):
            assert attrs["xlink:href"][1:] in ids
    assert set(re.findall(r"url\(#([^)]+)\)", whole[1].html)) <= set(ids)


def test_the_page_fits_a_phone_and_the_dark(whole):
    html = whole[1].html
    assert "width=device-width" in html and "prefers-color-scheme: dark" in html and "font: 16px" in html
    assert len(whole[1].all("table")) == html.count('class="scroll"')


def test_a_clean_experiment_bears_no_caution(whole):
    assert 'class="caution"' not in whole[1].html and "Caution" not in whole[1].text
    assert "Use distilled:" in whole[1].text


def test_every_table_of_scores_bears_the_cautions(hostile):
    page = hostile[1]
    box = page.html[page.html.index('class="caution"') : page.html.index("What was compared")]
    for words in ("split leaks", "One seed", "null is not near zero", "trial time predicts position"):
        assert words in box
    tables = [t for t in page.html.split('class="tablename"')[1:] if not t.startswith(' id="stages"')]
    assert len(tables) >= 5
    for table in tables:
        note = table[: table.index("<table")]
        for words in ("the split leaks", "one seed", "the null is above zero", "trial time predicts position"):
            assert words in note


def test_what_is_missing_is_said_and_stale_pictures_go(hostile):
    out, page = hostile
    for words in (
        "teacher left no prediction for s1.",
        "No training curves were kept",
        "No representations were kept",
        "No splits were kept",
    ):
        assert words in page.text
    assert not (out / "figures" / "map.png").exists() and (out / "figures" / "decoded.png").exists()


def test_pictures_for_the_readme_are_twice_the_size_of_the_page(whole):
    out, _ = whole
    for name in ("r2", "decoded", "curves", "map"):
        height, width, _ = imread(out / "figures" / f"{name}.png").shape
        assert abs(width - 7.6 * 192) <= 1
        assert 300 < height < 1500


def test_the_tables_are_there_as_markdown(whole, hostile):
    assert "| distilled | 0.82 [0.81, 0.84] |" in (whole[0] / "tables" / "results.md").read_text(encoding="utf-8")
    assert "<script" not in (hostile[0] / "tables" / "results.md").read_text(encoding="utf-8")


def test_time_and_memory_are_added_up(whole):
    assert "pretrain" in whole[1].text
    total = sum(stage["seconds"] for stage in run_record()["stages"])
    row = whole[1].html[whole[1].html.index('<th scope="row">all</th>') :][:400]
    assert f">{total:.0f}<" in row and ">812 MB<" in row


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no results\.csv.*spikefield experiment"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", b"{", "not readable JSON"),
        ("results.csv", b"model,seed\na,1\n", "'regime' is missing"),
        ("results.csv", b"model,regime,trained_on,session,seed,metric,value,n_test\n", "holds no score"),
        ("curves.csv", b"model,seed\na,1\n", "'epoch' is missing"),
        ("predictions/sim-0.npz", b"PK", "not a readable .npz"),
        ("splits/sim-0.json", b"[", "not readable JSON"),
    ],
)
def test_a_broken_file_is_named_and_the_old_page_stays(tmp_path, name, content, message):
    out = write_fake(tmp_path, maps=20)
    (out / "report.html").write_text("of an earlier run", encoding="utf-8")
    (out / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        write_report(out)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert (out / "report.html").read_text(encoding="utf-8") == "of an earlier run"
    assert not list(out.glob(".*.part"))


def test_arrays_that_do_not_fit_are_named(tmp_path):
    out = write_fake(tmp_path, maps=20)
    arrays = prediction_arrays()
    np.savez(out / "predictions" / "sim-0.npz", **(arrays | {"pred_distilled": arrays["pred_distilled"][:-1]}))
    with pytest.raises(InputError, match="`pred_distilled` must have"):
        write_report(out)


@pytest.mark.parametrize(("written", "shown"), [("-0.03", "−0.03"), ("[-0.1, 0]", "[−0.1, 0]"), ("sim-0", "sim-0")])
def test_only_numbers_get_a_minus(written, shown):
    assert minus(written) == shown


def test_names_and_scores_stay_on_one_line():
    kept = unbroken("<b> ms-lfp reaches R² 0.47 (0.4 to −0.1)")
    assert kept == '&lt;b&gt; <span class="keep">ms-lfp</span> reaches <span class="keep">R² 0.47</span> (0.4 to −0.1)'

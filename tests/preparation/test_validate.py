"""`validate`, its page, `inspect` and `download`: what a session is good for, and nothing that a name can break."""

import json
import logging
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from preparation_sessions import clean

from spikefield.cli import main
from spikefield.errors import InputError
from spikefield.preparation import commands
from spikefield.preparation.commands import download, inspect, validate
from spikefield.preparation.verdict import headline, judge_file
from spikefield.recordings import session as layout
from spikefield.recordings.archives import RemoteFile
from spikefield.recordings.arrays import from_arrays

NASTY = "<script>alert('x')</script>"


def save(folder, name, **changes):
    arrays = {**clean(), "session": name, **changes}
    arrays = {key: value for key, value in arrays.items() if value is not None}
    return layout.save(from_arrays(**arrays), folder / f"{name}.h5")


NO_SPIKES = {"spike_times": None, "spike_units": None}
NO_FIELD = {"lfp": None, "lfp_rate_hz": None, "channel_positions_um": None}
NO_BEHAVIOR = {"behavior": None, "behavior_rate_hz": None, "behavior_names": None}


@pytest.mark.parametrize(
    ("missing", "uses"),
    [
        ({}, ["teacher", "student", "inference", "scoring"]),
        (NO_FIELD, ["teacher", "scoring"]),
        (NO_SPIKES, ["inference", "scoring"]),
        (NO_BEHAVIOR, ["teacher", "student", "inference"]),
    ],
)
def test_what_a_session_can_be_used_for(tmp_path, missing, uses):
    verdict = judge_file(save(tmp_path, "s", **missing))
    assert [use for use, possible in verdict.uses.items() if possible] == uses
    assert verdict.usable
    assert headline(verdict).endswith(f"Use for: {', '.join(uses)}")


def test_a_problem_of_one_stream_spares_the_others(tmp_path):
    still = np.zeros_like(clean()["behavior"])
    assert judge_file(save(tmp_path, "s", behavior=still)).uses == {
        "teacher": True,
        "student": True,
        "inference": True,
        "scoring": False,
    }


def test_text_and_json(tmp_path, capsys):
    save(tmp_path / "in", "one", trials_s=[(t, t + 2.0) for t in range(0, 90, 3)])
    save(tmp_path / "in", "two", intervals_s=[(0.0, 40.0), (41.0, 90.0)], **NO_SPIKES)
    validate(tmp_path / "in", out=tmp_path / "page")
    text = capsys.readouterr().out
    assert "one: 1.5 min; 30 units; 16 channels at 500 Hz; vx, vy; 30 trials. Use for: teacher, student" in text
    assert "2 of 2 sessions can be used" in text
    content = json.loads((tmp_path / "page" / "validation.json").read_text())
    one, two = content["sessions"]
    assert (one["units"], one["channels"], one["trials"], one["gaps"], one["minutes"]) == (30, 16, 30, 0, 1.5)
    assert (two["units"], two["trials"], two["gaps"]) == (None, None, 1)
    assert two["uses"] == {"teacher": False, "student": False, "inference": True, "scoring": True}
    assert {"severity", "stream", "what", "where", "names", "remedy", "check"} == set(two["findings"][0])
    assert content["together"] == []


def test_without_out_nothing_is_written(tmp_path):
    path = save(tmp_path, "one")
    validate(path)
    assert list(tmp_path.iterdir()) == [path]


def test_unusable_sessions_end_with_status_2_after_all_are_told(tmp_path, capsys):
    save(tmp_path, "good")
    save(tmp_path, "short", intervals_s=[(0.0, 5.0)])
    whole = (tmp_path / "good.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SystemExit) as left:
        main(["validate", str(tmp_path), "--out", str(tmp_path / "page")])
    told = capsys.readouterr()
    assert left.value.code == 2
    assert "2 of 3 sessions cannot be used: cut.h5, short.h5" in told.err
    assert told.err.count("\n") == 1
    assert "good: 1.5 min" in told.out
    assert "cut.h5: cannot be used\n  problem: not a readable prepared session" in told.out
    assert (tmp_path / "page" / "validation.html").exists()


def test_damage_inside_a_file_is_a_finding(tmp_path):
    path = save(tmp_path, "s")
    content = bytearray(path.read_bytes())
    place = content.find(b"unit_index")
    content[place : place + 10] = b"x" * 10
    path.write_bytes(bytes(content))
    verdict = judge_file(path)
    assert not verdict.usable
    assert [f.severity for f in verdict.findings] == ["problem"]


class Reader(HTMLParser):
    """Collects tags, ids, references and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.ids, self.references, self.text = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.references += [v for k, v in attributes if k in ("src", "href") and v]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("page")
    lfp = clean()["lfp"]
    lfp[:, 3] *= 100
    names = [NASTY if i == 3 else f"$e_{i}$ & co" for i in range(16)]
    behavior_names = [f"<img src=x onerror={i}>" for i in range(2)]
    save(tmp_path / "in", "one", lfp=lfp, channel_ids=names, behavior_names=behavior_names)
    save(tmp_path / "in", "two", **NO_FIELD)
    save(tmp_path / "in", "three")
    validate(tmp_path / "in", out=tmp_path)
    return (tmp_path / "validation.html").read_text(encoding="utf-8")


def test_names_from_data_are_text_on_the_page(page):
    read = Reader(page)
    assert "script" not in read.tags and "img" not in read.tags
    assert any(NASTY in text for text in read.text)
    assert "mathdefault" not in page


def test_the_page_is_whole_in_itself(page):
    read = Reader(page)
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert all(reference.startswith("#") for reference in read.references)
    assert set(re.findall(r"https?://[^\s\"<]+", page)) <= {"http://www.w3.org/1999/xlink"}
    assert {r[1:] for r in read.references} <= set(read.ids)


def test_the_page_shows_four_pictures_where_there_are_four(page):
    read = Reader(page)
    assert read.tags.count("figure") == read.tags.count("figcaption") == 4 + 1 + 4
    assert page.count('role="img" aria-label="Power spectrum') == 2
    assert page.count("Circled: channels that a check names") >= 1
    assert "3 of 3 prepared sessions can be used" in page
    assert "Leave them out: a common average" in page


def test_inspect_prints_what_is_there(tmp_path, capsys, caplog):
    arrays = {k: v for k, v in clean().items() if k not in ("session", "subject", "source", "behavior_names")}
    np.savez(tmp_path / "a.npz", **arrays)
    inspect(tmp_path / "a.npz")
    single = capsys.readouterr().out
    assert "field potential" in single and "behaviour" in single
    (tmp_path / "b.npz").write_bytes(b"no" * 100)
    caplog.set_level(logging.INFO, logger="spikefield")
    with pytest.raises(InputError, match=r"1 file could not be inspected: b\.npz"):
        inspect(tmp_path)
    assert capsys.readouterr().out == single
    assert "b.npz" in caplog.text
    with pytest.raises(InputError, match=r"b\.npz"):
        inspect(tmp_path / "b.npz")


def test_download_lists_or_fetches(tmp_path, capsys, caplog, monkeypatch):
    def fetch(dataset, names, folder, *, page, progress):
        for have in range(0, 101):
            progress(names[0], have, 100)
        return [folder / names[0]]

    remote = RemoteFile(name="a.mat", size=2_500_000, digest=None, url="x")
    monkeypatch.setattr(commands, "available", lambda dataset, *, page: [remote])
    monkeypatch.setattr(commands, "fetch", fetch)
    caplog.set_level(logging.INFO, logger="spikefield")
    download("makin")
    assert capsys.readouterr().out.split() == ["2.5", "MB", "a.mat"]
    download("makin", out=tmp_path, names=["a.mat"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.mat")
    assert len(caplog.records) == 10
    with pytest.raises(InputError, match="login"):
        monkeypatch.undo()
        download("flint")

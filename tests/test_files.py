"""Files appear whole or not at all, whatever happens on the way."""

import errno
import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import spikefield.files as files
from spikefield.errors import InputError


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def disk_error(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "deep/in/a.txt"
    with files.whole(target) as temporary:
        temporary.write_text("new")
        assert not target.exists() and temporary.parent == target.parent
    assert target.read_text() == "new" and names(tmp_path) == ["deep", "deep/in", "deep/in/a.txt"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    for text in ("old", "new"):
        with files.whole(tmp_path / "model") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert names(tmp_path) == ["model", "model/new"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), InputError("x")])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_fails_leaves_what_was_there(tmp_path, error, kind):
    def fill(temporary, text):
        if kind == "folder":
            temporary.mkdir()
            (temporary / "a").write_text(text)
        else:
            temporary.write_text(text)

    with files.whole(tmp_path / "a") as temporary:
        fill(temporary, "old")
    before = names(tmp_path)
    with pytest.raises(type(error)), files.whole(tmp_path / "a") as temporary:
        fill(temporary, "new")
        raise error
    assert names(tmp_path) == before
    assert (tmp_path / "a/a" if kind == "folder" else tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO, errno.EPERM])
def test_a_disk_that_cannot_take_it_is_one_line(tmp_path, number):
    with pytest.raises(InputError) as caught, files.whole(tmp_path / "a") as temporary:
        temporary.write_text("half")
        disk_error(number)()
    assert str(caught.value) == (
        f"cannot write {tmp_path}/a: {os.strerror(number)}. Free or choose another folder and run again."
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", ["mkdir", "replace"])
def test_the_steps_of_writing_may_fail_too(tmp_path, monkeypatch, step):
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(Path, step, disk_error(errno.EROFS))
    with pytest.raises(InputError, match="cannot write .*/a: Read-only file system"):
        files.write_text(tmp_path / "a", "new")
    monkeypatch.undo()
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old").write_text("old")
    replace = Path.replace

    def fail_for_new(path, target):
        if path.name.endswith(".part"):
            raise OSError(errno.EIO if not target.exists() else errno.ENOTEMPTY, "I/O error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail_for_new)
    with pytest.raises(InputError, match="Input/output error"), files.whole(tmp_path / "model") as temporary:
        temporary.mkdir()
    assert names(tmp_path) == ["model", "model/old"]


def test_a_missing_input_is_not_taken_for_a_bad_disk(tmp_path):
    with pytest.raises(FileNotFoundError), files.whole(tmp_path / "a"):
        (tmp_path / "not-there").read_text()
    assert names(tmp_path) == []


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    for write in (
        lambda: files.write_text(tmp_path / "file/a", "x"),
        lambda: files.check_writable(tmp_path / "file/a"),
    ):
        with pytest.raises(InputError, match="cannot write .*/file/a: (Not a directory|File exists)"):
            write()
    assert names(tmp_path) == ["file"]


def test_a_place_is_tried_without_a_trace(tmp_path, monkeypatch):
    files.check_writable(tmp_path / "deep/a")
    assert names(tmp_path) == ["deep"]
    monkeypatch.setattr(Path, "touch", disk_error(errno.ENOSPC))
    with pytest.raises(InputError, match="cannot write .*/deep/a: No space left on device"):
        files.check_writable(tmp_path / "deep/a")


def test_json_comes_back(tmp_path):
    content = {"name": "µ", "list": [1, 2.5, None], "nested": {"a": True}}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize("text", ['{"a": ', "", "[1, 2", "\xff\xfe", "[" * 100_000])
def test_what_is_not_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"a\.json is not readable JSON \(") as caught:
        files.read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_missing_json_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.json does not exist"):
        files.read_json(tmp_path / "a.json")


def test_a_hash_is_that_of_all_bytes(tmp_path):
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_many_writers_of_one_folder_leave_one_whole(tmp_path):
    def write(i):
        for _ in range(10):
            with files.whole(tmp_path / "model") as temporary:
                temporary.mkdir()
                for name in ("a", "b", "c"):
                    (temporary / name).write_text(str(i))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert names(tmp_path) == ["model", "model/a", "model/b", "model/c"]
    assert len({(tmp_path / "model" / name).read_text() for name in "abc"}) == 1


def test_a_folder_stays_where_another_writer_was_faster(tmp_path):
    for i, wanted in enumerate((False, False, True)):
        with files.whole(tmp_path / "model", unless=lambda wanted=wanted: wanted) as temporary:
            temporary.mkdir()
            (temporary / "a").write_text(str(i))
    assert names(tmp_path) == ["model", "model/a"] and (tmp_path / "model/a").read_text() == "1"


def test_what_killed_processes_left_is_swept_an_hour_later(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    old, new, alive, foreign = (
        tmp_path / f".model.{place}-{number}-{i}.part"
        for i, (place, number) in enumerate(
            [(files._PLACE, dead.pid), (files._PLACE, dead.pid), (files._PLACE, os.getpid()), ("ffffff", dead.pid)]
        )
    )
    for left in (old, new, alive, foreign):
        left.mkdir()
        (left / "weights").write_text("x")
    for left in (old, alive, foreign):
        os.utime(left, (0, 0))
    files.write_text(tmp_path / "other", "x")
    assert old.exists()
    files.write_text(tmp_path / "model", "x")
    assert [left.exists() for left in (old, new, alive, foreign)] == [False, True, True, True]

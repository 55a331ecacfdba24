"""Folders are written whole or not at all, and no living process loses what it writes."""

import errno
import fcntl
import time

import pytest

from jdann import folders

YEARS_S = 5 * 365 * 86400


def write(parent, content, continued=False):
    with folders.unfinished(parent, "a", "a", "written it", continued=continued) as folder:
        (folder / "whole").write_text(content)
        folders.put_in_place(folder, parent / "a")


def test_a_reader_keeps_the_files_that_it_has_open(tmp_path):
    write(tmp_path, "first")
    with (tmp_path / "a" / "whole").open() as file:
        write(tmp_path, "second")
        assert file.read() == "first"
    assert (tmp_path / "a" / "whole").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("continued", [True, False])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), ValueError()], ids=repr
)
def test_a_failure_leaves_the_finished_folder_alone(tmp_path, error, continued):
    write(tmp_path, "first")
    with (
        pytest.raises(type(error)),
        folders.unfinished(tmp_path, "a", "a", "written it", continued=continued) as folder,
    ):
        (folder / "half").write_text("half")
        raise error
    assert (tmp_path / "a" / "whole").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1 + continued
    with folders.unfinished(tmp_path, "a", "a", "written it", continued=continued) as folder:
        assert (folder / "half").exists() == continued


@pytest.mark.parametrize("jump_s", [YEARS_S, -YEARS_S])
def test_what_is_written_now_stays_whatever_the_clock_says(tmp_path, monkeypatch, jump_s):
    now = time.time()
    with (
        pytest.raises(KeyboardInterrupt),
        folders.unfinished(tmp_path, "a", "a", "written it", continued=True) as folder,
    ):
        (folder / "half").touch()
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now + jump_s)
            folders.remove_stale(tmp_path)
        assert (folder / "half").exists()
        raise KeyboardInterrupt
    folders.remove_stale(tmp_path)
    assert (folder / "half").exists()  # the next run continues it
    monkeypatch.setattr(time, "time", lambda: now + YEARS_S)
    folders.remove_stale(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_an_earlier_version_writes_stays_as_well(tmp_path, monkeypatch):
    for name in ("living", "dead"):
        (tmp_path / f".partial-{name}").mkdir()
        (tmp_path / f".partial-{name}" / "lock").touch()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + YEARS_S)
    with (tmp_path / ".partial-living" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folders.remove_stale(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".partial-living"]


def test_without_locks_each_process_writes_a_folder_of_its_own(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with folders.unfinished(tmp_path, "a", "a", "written it") as first:
        with folders.unfinished(tmp_path, "a", "a", "written it") as second:
            assert first != second
            (second / "whole").write_text("second")
            folders.put_in_place(second, tmp_path / "a")
        (first / "whole").write_text("first")
        folders.put_in_place(first, tmp_path / "a")
    assert (tmp_path / "a" / "whole").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["a", ".unfinished-a"])
def test_a_file_in_the_place_of_a_folder_is_replaced(tmp_path, name):
    (tmp_path / name).write_text("foreign")
    write(tmp_path, "whole", continued=True)
    assert (tmp_path / "a" / "whole").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

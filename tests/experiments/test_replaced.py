"""A run that is overwritten stays until the new one is finished, whatever fails before."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from jdann.cli import main
from jdann.experiments.replaced import put_back, replacing
from tests.support.processes import NthCall
from tests.support.runs import arguments, fail

OLD = {
    "config.json": "old",
    "results.json": "old",
    "skipped.csv": "old",
    "checkpoints/dann-0/3/state": "old",
    "recogniser/model.json": "old",
    "log.txt": "old",
    "mine.txt": "not of jdann",
}


@pytest.fixture
def run(tmp_path) -> Path:
    """A work directory with something in the place of each kind of file."""
    for name, text in OLD.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(text)
    return tmp_path / "run"


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def texts(folder: Path) -> dict[str, str]:
    return {name: data.decode() for name, data in content(folder).items()}


def begin(run: Path, checkpoint: bool = False) -> None:
    """Writes what a new run writes."""
    (run / "config.json").write_text("new")
    (run / "checkpoints" / "dann-0" / "1.orbax-tmp").mkdir(parents=True)
    if checkpoint:
        (run / "checkpoints" / "dann-0" / "1").mkdir()


def test_a_finished_run_takes_the_place_of_the_old_one(run):
    with replacing(run, overwrite=True):
        assert set(texts(run / "replaced")) == set(OLD) - {"log.txt", "mine.txt"}
        begin(run, checkpoint=True)
        (run / "results.json").write_text("new")
    assert texts(run) == {
        "config.json": "new",
        "results.json": "new",
        "log.txt": "old",
        "mine.txt": "not of jdann",
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")], ids=repr)
def test_a_failure_before_the_first_checkpoint_puts_the_old_run_back(run, error):
    with pytest.raises(type(error)), replacing(run, overwrite=True):
        begin(run)
        raise error
    assert texts(run) == OLD


def test_after_the_first_checkpoint_both_runs_stay_until_the_new_one_is_finished(run):
    for overwrite in (True, False, True, False):  # it is continued, and begun anew
        with pytest.raises(KeyboardInterrupt), replacing(run, overwrite):
            if overwrite:
                begin(run, checkpoint=True)
            raise KeyboardInterrupt
        put_back(run)
        assert (run / "config.json").read_text() == "new"
        assert set(texts(run / "replaced").values()) == {"old"}
    with replacing(run, overwrite=False):
        (run / "results.json").write_text("new")
    assert not (run / "replaced").exists()


@pytest.mark.parametrize("function", ["rename", "mkdir"])
@pytest.mark.parametrize("n", range(7))
def test_an_error_while_the_files_are_moved_loses_none(run, monkeypatch, function, n):
    error = OSError(errno.ENOSPC, "No space left on device")
    call = NthCall(getattr(Path, function), error, n)
    with monkeypatch.context() as patch:
        patch.setattr(Path, function, lambda *arguments: call(*arguments))
        try:
            with replacing(run, overwrite=True):
                raise KeyboardInterrupt
        except (KeyboardInterrupt, OSError):
            pass
    put_back(run)  # by the next run
    assert texts(run) == OLD


@pytest.mark.slow
@pytest.mark.parametrize("n", [0, 1, 2, 8, 13, 21])
def test_overwriting_on_a_full_disk_loses_nothing(
    finished_run, tones, data_dir, tmp_path, monkeypatch, capsys, n
):
    """The disk is full from the n-th file on."""
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    old = content(copy)
    del old["log.txt"]
    options = arguments(*tones, copy, data_dir)
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", NthCall(os.fsync, full, n))
        message = fail(capsys, *options, "--overwrite").splitlines()[-1]
    assert message.startswith("jdann: the disk is full")
    left = content(copy)
    is_back = old.items() <= left.items()
    assert is_back or old.items() <= content(copy / "replaced").items()
    main([*options, "--overwrite" if is_back else "--resume"])
    assert not (copy / "replaced").exists() and (copy / "results.json").exists()

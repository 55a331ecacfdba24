"""Labels of some clips of the target: how they are read, and what is refused."""

import numpy as np
import pytest

from jdann.corpora import load
from jdann.data.target_labels import match_labels, read_target_labels
from jdann.errors import InputError
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import read


@pytest.fixture
def target(tones):
    return load(str(tones[1]), EMOTIONS).utterances


def write_labels(path, rows, columns=("file", "emotion")):
    return str(write_manifest(path, rows, columns))


def test_clips_are_named_by_their_path_or_as_the_targets_list_names_them(target, tmp_path):
    rows = [
        (target[3].path, "Anger"),  # any spelling
        (target[8].file, "sad"),
        (target[9].file, ""),  # not labelled
        ("elsewhere.wav", "boredom"),  # not among the emotions of the run
    ]
    labels = read_target_labels(write_labels(tmp_path / "few.csv", rows), target, EMOTIONS)
    expected = np.full(len(target), -1)
    expected[3], expected[8] = EMOTIONS.index("angry"), EMOTIONS.index("sad")
    np.testing.assert_array_equal(labels, expected)


def test_the_labelled_part_of_the_targets_own_list_can_be_given(tones, target):
    rows = [
        (row["file"], row["emotion"] if i % 7 == 0 else "") for i, row in enumerate(read(tones[1]))
    ]
    labels = read_target_labels(
        write_labels(tones[1].with_name("partly.csv"), rows), target, EMOTIONS
    )
    expected = [EMOTIONS.index(u.emotion) if i % 7 == 0 else -1 for i, u in enumerate(target)]
    np.testing.assert_array_equal(labels, expected)


def test_parts_of_one_file_are_told_apart_by_their_times(target, tmp_path):
    parts = [target[0]._replace(start_s=start, end_s=start + 0.1) for start in (0.0, 0.1, 0.2)]
    rows = [(target[0].path, "happy", "0.1", "0.2")]
    spec = write_labels(tmp_path / "few.csv", rows, ("file", "emotion", "start", "end"))
    labels = read_target_labels(spec, parts, EMOTIONS)
    np.testing.assert_array_equal(labels, [-1, EMOTIONS.index("happy"), -1])
    spec = write_labels(tmp_path / "few.csv", [row[:2] for row in rows])
    with pytest.raises(InputError, match="is no usable clip of config.target"):
        read_target_labels(spec, parts, EMOTIONS)


def test_a_folder_inside_the_target_gives_the_labels_of_its_clips(tones, target, tmp_path):
    for emotion in ("sad", "happy"):
        folder = tmp_path / "target" / "heard" / emotion
        folder.mkdir(parents=True)
        (folder / "clip.wav").write_bytes((tones[1].parent / target[0].file).read_bytes())
    clips = load(str(tmp_path / "target" / "heard"), EMOTIONS).utterances
    unlabelled = [target[5], *(u._replace(emotion=None, file=f"heard/{u.file}") for u in clips)]
    labels = read_target_labels(str(tmp_path / "target" / "heard"), unlabelled, EMOTIONS)
    assert [EMOTIONS[i] if i >= 0 else None for i in labels] == [
        None,
        *(u.emotion for u in clips),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("no.wav", "sad")], "line 2: no.wav is no usable clip of config.target; name each clip"),
        ([("0-0-0.wav", "saad")], "labels that name no known emotion, the first in line 2: saad"),
        ([("0-0-0.wav", "")], "has no label among neutral, happy, angry, sad, surprise"),
        ([("0-0-0.wav", "boredom")], "has no label among"),
        ([], "has no rows below the names of the columns"),
        (
            [("0-0-0.wav", "sad"), ("0-0-1.wav", "sad"), ("0-0-0.wav", "happy")],
            "line 4: labels 0-0-0.wav happy, and .*line 2 labels it sad; keep one of the two",
        ),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(target, tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as refused:
        read_target_labels(write_labels(tmp_path / "few.csv", rows), target, EMOTIONS)
    assert "\n" not in str(refused.value)


def test_labels_of_the_whole_target_are_refused(tones, target):
    with pytest.raises(InputError, match="labels all 60 utterances of config.target; leave some"):
        read_target_labels(str(tones[1]), target, EMOTIONS)


def test_a_name_of_two_clips_is_refused(target):
    twins = [target[0]._replace(path=f"/{part}/a.wav", file="a.wav") for part in ("x", "y")]
    clip = target[0]._replace(path="/z/a.wav", file="a.wav", emotion="sad")
    with pytest.raises(InputError, match=r"few: line 2: a.wav is the name of 2 clips"):
        match_labels([("few: line 2", clip)], "few", twins, EMOTIONS)

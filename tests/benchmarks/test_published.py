"""The tasks with published figures: what trains, what is scored, and the peers."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from jdann.errors import InputError
from tests.support.published import write_list, write_named_tones, write_nemo

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def tasks(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("published_tasks")


@pytest.fixture
def peers(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("published_peers")


@pytest.fixture
def emobox(tmp_path) -> list[Path]:
    """EmoBox's lists of the takes 0 and 1, and both corpora with the takes 0, 1 and 2."""
    ravdess = write_named_tones(tmp_path, "ravdess", 0, 150.0)
    savee = write_named_tones(tmp_path, "savee", 1, 230.0)
    for name, manifest in (("RAVDESS", ravdess), ("SAVEE", savee)):
        write_list(tmp_path / "lists", name, manifest, ("-0", "-1"))
    return [tmp_path / "lists", tmp_path / "ravdess", savee]


def test_emobox_trains_on_the_four_emotions_and_scores_the_list_alone(tasks, emobox):
    forth_list, forth_all, back_list, _ = tasks.emobox_tasks(emobox)
    assert [forth_list.name, back_list.name] == ["RAVDESS to SAVEE", "SAVEE to RAVDESS"]
    assert len(forth_list.source.utterances) == 48  # 4 speakers, 4 emotions, 3 takes
    assert len(forth_list.target.utterances) == 32  # 2 takes
    assert all(u.emotion in tasks.FOUR_EMOTIONS for u in forth_list.target.utterances)
    assert len(forth_all.target.utterances) == 60  # 5 emotions, 3 takes
    labelled = {u.file for u in forth_all.target.utterances if u.emotion is not None}
    assert labelled == {u.file for u in forth_list.target.utterances}
    assert "32 clips" in forth_list.adapted_to and "60 clips" in forth_all.adapted_to


def test_a_missing_list_is_named(tasks, emobox):
    (emobox[0] / "SAVEE_selected_balenced.jsonl").unlink()
    with pytest.raises(InputError, match=r"no folder .* SAVEE_selected_balenced.jsonl"):
        list(tasks.emobox_tasks(emobox))


def test_clips_of_a_list_that_the_corpus_lacks_are_counted(tasks, emobox):
    path = emobox[0] / "SAVEE_selected_balenced.jsonl"
    with path.open("a") as file:
        file.write('{"wav_filename": "KL/a99.wav", "label": "angry", "speaker": "KL"}\n')
    with pytest.raises(InputError, match=r"names 1 clips that savee.csv .* KL/a99.wav"):
        list(tasks.emobox_tasks(emobox))


@pytest.mark.parametrize(
    "line", ["[1]", "{", '{"label": "sad"}', '{"wav_filename":"a","label":"x"}']
)
def test_a_line_that_is_no_entry_of_a_list_is_named(tasks, tmp_path, line):
    path = tmp_path / "SAVEE_selected_balenced.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match="line 1"):
        tasks.read_list(path)


def test_a_list_matches_converted_files(tasks, emobox):
    assert tasks._key("DC\\a01.wav") == tasks._key("savee/DC/a01.flac") == "dc/a01"


def test_a_missing_corpus_is_named(tasks, emobox):
    with pytest.raises(InputError, match="no corpus called emodb or berlin"):
        list(tasks.berlin_casia_tasks(emobox))
    with pytest.raises(InputError, match="no such file"):
        list(tasks.berlin_casia_tasks([Path("nowhere")]))


def test_berlin_and_casia_are_paired_both_ways(tasks, tmp_path):
    write_named_tones(tmp_path, "emodb", 0, 150.0)
    casia = write_named_tones(tmp_path, "casia", 1, 230.0)
    there, back = tasks.berlin_casia_tasks([casia, tmp_path / "emodb"])
    assert (there.source.name, there.target.name) == ("emodb.csv", "casia.csv")
    assert (back.source, back.target) == (there.target, there.source)
    assert len(there.source.utterances) == 48  # without surprise


def test_nemo_is_read_as_its_repository_lays_it_out(tasks, tmp_path):
    nemo = write_nemo(tmp_path)
    english = write_named_tones(tmp_path, "english", 0, 150.0)
    (task,) = tasks.poleval_tasks([english, nemo])
    assert task.name == "english.csv to nEMO"
    first = task.target.utterances[0]
    assert (first.speaker, first.emotion, first.language) == ("S0", "neutral", "pl")
    assert len(task.target.utterances) == 60 and Path(first.path).is_file()
    assert {u.emotion for u in task.target.utterances} == set(tasks.SIX_EMOTIONS) - {"fearful"}
    assert all(u.speaker is None for u in tasks.hide_speakers(task.target).utterances)


def test_an_incomplete_nemo_is_refused(tasks, tmp_path):
    nemo = write_nemo(tmp_path)
    with pytest.raises(InputError, match="no source beside nEMO"):
        list(tasks.poleval_tasks([nemo]))
    with pytest.raises(InputError, match=r"0 folders of --data hold data.tsv"):
        list(tasks.poleval_tasks([tmp_path]))
    next((nemo / "samples").iterdir()).unlink()
    with pytest.raises(InputError, match="60 clips, and 1 of them are missing"):
        tasks.read_nemo(nemo)
    (nemo / "data.tsv").write_text("file\temotion\na.wav\tsad\n")
    with pytest.raises(InputError, match="no column `file_id`"):
        tasks.read_nemo(nemo)


def shifted_classes(peers, shift: float):
    """Three classes far from one another, and the same shifted and stretched in the target."""
    random = np.random.default_rng(0)
    emotion = np.arange(90) % 3
    centres = 6.0 * np.eye(3, 90)
    source, noise = (random.normal(size=(90, 90)) for _ in range(2))
    source, target = centres[emotion] + source, 1.2 * (centres[emotion] + noise) + shift
    parts = source.astype(np.float32), emotion, target.astype(np.float32)
    return peers.Statistics(*parts), emotion


def test_every_peer_labels_a_similar_target(peers):
    statistics, emotion = shifted_classes(peers, shift=0.1)
    for name, peer in peers.PEERS.items():
        predicted = peer.predict(statistics, 0)
        assert predicted.shape == emotion.shape
        assert (predicted == emotion).mean() > 0.7, name


def test_coral_gives_the_source_the_covariance_of_the_target(peers):
    random = np.random.default_rng(1)
    # Large variances, beside which the identity matrix in both covariances is small.
    source, target = (100 * random.normal(size=(500, 4)) @ random.normal(size=(4, 4)) for _ in "st")
    aligned = peers.coral(peers.Statistics(source, np.zeros(500, int), target)).source
    np.testing.assert_allclose(
        np.cov(aligned, rowvar=False), np.cov(target, rowvar=False), rtol=0.02, atol=50
    )


def test_the_discriminant_uses_prosody_and_equal_priors(peers):
    statistics, emotion = shifted_classes(peers, shift=0.0)
    kept = (emotion > 0) | (np.arange(90) < 30)  # fewer of one class
    uneven = statistics._replace(source=statistics.source[kept], emotion=emotion[kept])
    columns = uneven.prosody().source.shape[1]
    assert columns < uneven.source.shape[1]
    changed = uneven._replace(target=uneven.target.copy())
    changed.target[:, columns:] = 99.0
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[1 / 3] * 3)
    reference.fit(uneven.source[:, :columns], uneven.emotion)
    np.testing.assert_array_equal(
        peers.prosodic_discriminant(changed, 0), reference.predict(statistics.target[:, :columns])
    )

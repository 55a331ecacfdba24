"""A recogniser among its neighbours: scikit-learn's methods, notebooks, pickles and folders."""

import pickle

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from jdann.errors import InputError
from jdann.inference.recogniser import Recogniser
from tests.support.models import LABELS, make_model, speech

CLIPS = [speech(0.7 + 0.03 * i, 100 + 40 * i, i) for i in range(6)]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.of(make_model())


def test_repr_is_one_line(recogniser):
    text = "Recogniser(dann with conv1d, a -> b, 5 emotions, 2 seeds, 16000 Hz)"
    assert repr(recogniser) == text
    assert "2 emotions" in repr(recogniser.only("happy", "sad"))
    html = recogniser._repr_html_()
    assert "a -&gt; b" in html and "surprise" in html and len(html) < 300
    assert "1 seed," in repr(Recogniser.of(make_model(members=1)))


def test_predict_and_its_probabilities(recogniser):
    probabilities = recogniser.predict_proba(CLIPS, 16000)
    assert probabilities.dtype == np.float32 and probabilities.shape == (6, 5)
    np.testing.assert_array_equal(probabilities, recogniser.probabilities(CLIPS, sr=16000))
    predicted = recogniser.predict(CLIPS, sampling_rate=16000)
    assert tuple(recogniser.classes_) == LABELS
    np.testing.assert_array_equal(predicted, recogniser.classes_[probabilities.argmax(1)])
    assert list(predicted) == [recogniser.label(clip, 16000) for clip in CLIPS]


def test_no_clips_give_empty_arrays(recogniser):
    assert recogniser.probabilities([]).shape == (0, 5)
    assert recogniser.predict([]).shape == (0,)
    assert recogniser.representations([]).shape == (0, 2, 16)
    assert recogniser([]) == []


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
def test_score_is_the_unweighted_average_recall(recogniser):
    predicted = recogniser.predict(CLIPS, 16000)
    assert recogniser.score(CLIPS, predicted, 16000) == 1
    labels = ["happy", "happy", "sad", *predicted[3:5], None]
    expected = balanced_accuracy_score(labels[:5], predicted[:5])
    assert recogniser.score(CLIPS, labels, 16000) == pytest.approx(expected)
    unreadable = [*CLIPS[:5], "no such file.wav"]
    for missing in (None, float("nan")):
        score = recogniser.score(unreadable, [*labels[:5], missing], rate=16000)
        assert score == pytest.approx(expected)
    for wrong, message in (
        (labels[:2], "2 labels for 6 clips"),
        ([None] * 6, "no clip has a label"),
        (["bored", *labels[1:]], "label 'bored'; expected neutral"),
    ):
        with pytest.raises(InputError, match=message):
            recogniser.score(CLIPS, wrong, 16000)


def test_pickled_and_read_again_it_says_the_same(recogniser):
    used = recogniser.only("sad", "happy").at_temperature(3.0).adapt(CLIPS, 16000)
    expected = used.probabilities(CLIPS, 16000)
    reloaded = pickle.loads(pickle.dumps(used))
    assert reloaded.labels == ("sad", "happy") and repr(reloaded) == repr(used)
    np.testing.assert_array_equal(reloaded.probabilities(CLIPS, 16000), expected)
    assert not pickle.loads(pickle.dumps(used)).programs._compiled


def test_saved_it_keeps_classes_adaptation_and_temperature(recogniser, tmp_path):
    recogniser.save(tmp_path / "all")
    reloaded = Recogniser.load(tmp_path / "all")
    expected = recogniser.probabilities(CLIPS, 16000)
    np.testing.assert_array_equal(reloaded.probabilities(CLIPS, 16000), expected)
    used = recogniser.only("sad", "happy").at_temperature(3.0).adapt(CLIPS, 16000)
    used.save(tmp_path / "used")
    names = {path.name for path in (tmp_path / "used").iterdir()}
    assert names == {"model.safetensors", "model.json"}
    reloaded = Recogniser.load(tmp_path / "used")
    assert reloaded.labels == ("sad", "happy") and reloaded.temperature == 3.0
    expected = used.probabilities(CLIPS, 16000)
    np.testing.assert_allclose(reloaded.probabilities(CLIPS, 16000), expected, atol=1e-6)
    with pytest.raises(InputError, match="overwrite=True"):
        used.save(tmp_path / "used")
    recogniser.save(tmp_path / "used", overwrite=True)
    assert Recogniser.load(tmp_path / "used").labels == LABELS
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        used.save(tmp_path / "file")

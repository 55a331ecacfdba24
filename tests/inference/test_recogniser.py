"""A recogniser from a model in memory: what it takes, how it normalises, what it refuses."""

import json

import jax
import numpy as np
import pytest
import soundfile

from jdann import audio
from jdann.data import normalise
from jdann.errors import InputError
from jdann.evaluation import metrics
from jdann.inference import model
from jdann.inference.recogniser import Part, Recogniser
from jdann.models import make_encoder
from tests.support.models import LABELS, make_model, speech


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.of(make_model())


def test_a_dict_for_a_clip_a_list_for_several_a_batch_for_numpy(recogniser, tmp_path):
    clip = speech(1.3)
    for name, data in (("b.wav", clip), ("a.flac", clip[:9000])):
        soundfile.write(tmp_path / name, data, 16000, subtype="PCM_24")
    answer = recogniser(tmp_path / "b.wav")
    assert tuple(answer) == LABELS and sum(answer.values()) == pytest.approx(1, abs=1e-6)
    folder = recogniser(tmp_path)
    assert folder[1] == answer and len(folder) == 2
    assert recogniser([str(tmp_path / "b.wav")]) == [answer]
    batch = recogniser.probabilities([tmp_path / "a.flac", tmp_path / "b.wav"])
    assert batch.shape == (2, 5) and batch.dtype == np.float32
    np.testing.assert_array_equal(batch[1], np.array(list(answer.values()), np.float32))
    np.testing.assert_allclose(
        list(recogniser(clip, 16000).values()), batch[1], atol=1e-5
    )  # 24 bits
    part = recogniser(Part(tmp_path / "b.wav", 0.0, 9000 / 16000))
    np.testing.assert_allclose(
        list(part.values()), batch[0], atol=2e-5
    )  # the two formats round differently
    assert recogniser.representations(tmp_path).shape == (2, 2, 16)


def test_abstains_below_a_probability(recogniser):
    clip = speech(1.3)
    row = recogniser(clip, 16000)
    best = max(row, key=row.get)
    assert (
        recogniser.label(clip, 16000)
        == recogniser.label(clip, 16000, at_least=row[best] - 0.01)
        == best
    )
    assert recogniser.label(clip, 16000, at_least=row[best] + 0.01) is None


def test_any_rate_channels_and_integers(recogniser, tmp_path):
    clip = speech(1.5, rate_hz=44100)
    expected = list(recogniser(clip, 44100).values())
    stereo = np.stack([clip, clip], 1)
    np.testing.assert_allclose(list(recogniser(stereo, 44100).values()), expected, atol=1e-5)
    soundfile.write(tmp_path / "clip.wav", stereo, 44100, subtype="FLOAT")
    np.testing.assert_allclose(
        list(recogniser(tmp_path / "clip.wav").values()), expected, atol=1e-5
    )
    integers = np.round(clip * 32768).astype(np.int16)
    np.testing.assert_allclose(list(recogniser(integers, 44100).values()), expected, atol=5e-3)


def test_an_ensemble_is_the_mean_of_its_members(recogniser):
    whole = make_model()
    clip = speech(1.0)
    each = []
    for member in range(2):
        variables = jax.tree.map(lambda x, member=member: x[member : member + 1], whole.variables)
        each.append(
            Recogniser.of(whole._replace(variables=variables)).probabilities([clip], 16000)[0]
        )
    np.testing.assert_allclose(
        recogniser.probabilities([clip], 16000)[0], np.mean(each, axis=0), atol=1e-6
    )


@pytest.mark.slow
def test_batches_and_padding_change_nothing(recogniser):
    clips = [
        speech(s, p, i)
        for i, (s, p) in enumerate(
            np.random.default_rng(0).uniform((0.4, 100), (4.9, 300), (23, 2))
        )
    ]
    together = recogniser.probabilities(clips, 16000)
    alone = np.concatenate([recogniser.probabilities([clip], 16000) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_subset_of_classes_masks_the_logits(recogniser):
    clip = speech(1.0)
    subset = recogniser.at_temperature(1.0).only("sad", "happy")
    assert subset.labels == ("sad", "happy")
    single = Recogniser.of(make_model(members=1)).at_temperature(1.0)
    everything = single(clip, 16000)
    two = single.only("sad", "happy")(clip, 16000)
    assert two["sad"] / two["happy"] == pytest.approx(
        everything["sad"] / everything["happy"], rel=1e-4
    )
    assert subset(clip, 16000).keys() == {"sad", "happy"}
    assert subset.only("happy", "sad").labels == ("happy", "sad")
    for wrong in (("sad",), ("sad", "sad"), ("sad", "bored"), ()):
        with pytest.raises(InputError):
            recogniser.only(*wrong)


def test_temperature_flattens(recogniser):
    clip = speech(1.0)
    sharp, flat = (max(recogniser.at_temperature(t)(clip, 16000).values()) for t in (0.5, 5.0))
    assert sharp > max(recogniser(clip, 16000).values()) > flat
    with pytest.raises(InputError, match="temperature"):
        recogniser.at_temperature(0)


@pytest.mark.parametrize("encoder", ["conv1d", pytest.param("mlp", marks=pytest.mark.slow)])
def test_adapts_to_a_speaker(encoder):
    recogniser = Recogniser.of(make_model(encoder))
    clips = [speech(1.2 + 0.1 * i, 120, i) for i in range(6)]
    adapted = recogniser.adapt(clips, 16000, relevance=0)
    config = recogniser.config
    settings = audio.AudioSettings(**config.audio)
    prepared = [audio.prepare(c, 16000, settings).samples for c in clips]
    rows = []
    for samples in prepared:
        bucket = np.pad(samples, (0, 32000 - len(samples)))
        features, frames = recogniser.programs.features(
            bucket[None], np.array([len(samples)], np.int32)
        )
        rows.append(features if encoder == "mlp" else features[0, : frames[0]])
    rows = np.concatenate(rows).astype(np.float64)
    (mean,), (std,), *_ = adapted.adaptation
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-3, atol=1e-3)
    varies = rows.std(0) > 1e-3
    np.testing.assert_allclose(std[varies], rows.std(0)[varies], rtol=1e-2)
    between = recogniser.adapt(clips, 16000)  # 6 clips against 5
    expected = 6 / 11 * mean + 5 / 11 * recogniser.adaptation.mean[0]
    np.testing.assert_allclose(between.adaptation.mean[0], expected, rtol=1e-4, atol=1e-4)
    assert adapted(clips[0], 16000) != recogniser(clips[0], 16000)
    with pytest.raises(InputError, match="no clips"):
        recogniser.adapt([])


@pytest.mark.parametrize(
    "by", ["source", *(pytest.param(by, marks=pytest.mark.slow) for by in ("utterance", "none"))]
)
def test_other_normalisations(by):
    recogniser = Recogniser.of(make_model(by=by))
    clip = speech(1.2)
    rows = recogniser.probabilities([clip, speech(1.9)], 16000)  # both use one program
    assert np.isfinite(rows).all()
    if by == "utterance":  # as training normalises, in NumPy
        samples = audio.prepare(clip, 16000, recogniser.audio_settings).samples
        features, frames = recogniser.programs.features(
            samples[None], np.array([len(samples)], np.int32)
        )
        values = [np.asarray(features[0, : frames[0]])]
        (z,) = normalise.apply(normalise.fit(values, ["x"]), values, ["x"])
        encoder = make_encoder("conv1d", recogniser.config.encoder)
        variables = recogniser.programs.variables
        logits = []
        for m in range(2):
            member = jax.tree.map(lambda x, m=m: x[m], variables)
            representation = encoder.apply(member["encoder"], z[None], frames, False)[
                "representation"
            ]
            logits.append(
                representation @ member["classifier"]["kernel"] + member["classifier"]["bias"][None]
            )
        expected = metrics.mean_probabilities(np.stack(logits) / recogniser.temperature)
        np.testing.assert_allclose(rows[0], expected[0], atol=2e-3)  # z-scores of float16
    with pytest.raises(InputError, match="normalises by"):
        recogniser.adapt([clip], 16000)


def test_a_window_of_a_timeline_is_a_clip_of_its_own(recogniser, tmp_path):
    long = np.concatenate([speech(4.0, 150), np.zeros(6 * 16000, np.float32), speech(3.2, 250)])
    soundfile.write(tmp_path / "long.wav", long, 16000, subtype="FLOAT")
    windows = recogniser.timeline(tmp_path / "long.wav", window_s=2, hop_s=1)
    np.testing.assert_allclose(windows.start_s, np.arange(13))
    assert windows.end_s[-1] == pytest.approx(13.2) and windows.end_s[0] == 2
    no_speech = np.isnan(windows.probabilities).all(1)
    assert no_speech[4:8].all() and not no_speech[:3].any() and not no_speech[10:].any()
    window = long[32000:64000]
    np.testing.assert_allclose(
        windows.probabilities[2], recogniser.probabilities([window], 16000)[0], atol=1e-5
    )
    from_array = recogniser.timeline(long, 2, 1, rate=16000)
    np.testing.assert_array_equal(from_array.probabilities, windows.probabilities)
    short = recogniser.timeline(speech(0.7), rate=16000)
    assert len(short.start_s) == 1 and short.end_s[0] == pytest.approx(0.7)
    apart = recogniser.timeline(tmp_path / "long.wav", window_s=1, hop_s=5)
    np.testing.assert_allclose(apart.start_s, [0, 5, 10])
    for wrong in ({"window_s": 9}, {"window_s": 0.01}, {"hop_s": 0}):
        with pytest.raises(InputError, match="expected"):
            recogniser.timeline(tmp_path / "long.wav", **wrong)


def test_what_cannot_be_heard_is_named(recogniser, tmp_path):
    (tmp_path / "text.wav").write_text("no audio " * 99)
    for name, message in (
        ("text.wav", "not audio"),
        ("absent.wav", "not found"),
    ):
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            recogniser(tmp_path / name)
    with pytest.raises(InputError, match="rate"):
        recogniser(speech(1.0))
    with pytest.raises(InputError, match="clip 1"):
        recogniser([speech(1.0), np.full(16000, np.nan)], 16000)
    with pytest.raises(InputError, match="rate"):
        recogniser.timeline(speech(1.0))
    rows = dict(recogniser.each([speech(1.0), np.full(16000, np.nan)], 16000))
    assert isinstance(rows[1], audio.Rejected) and rows[1].reason and rows[0].shape == (5,)


@pytest.mark.parametrize("encoder", ["conv1d", pytest.param("mlp", marks=pytest.mark.slow)])
def test_saved_and_read_again_it_says_the_same(encoder, tmp_path):
    recogniser = make_model(encoder)
    model.save_model(tmp_path / "recogniser" / "0-x-dann", recogniser)
    reloaded = Recogniser.load(tmp_path)
    clip = speech(1.0)
    assert reloaded(clip, 16000) == Recogniser.of(recogniser)(clip, 16000)
    assert reloaded.card["method"] == "dann" and reloaded.labels == LABELS


def test_which_of_several_methods_is_taken(tmp_path):
    recogniser = make_model()
    for order, method in enumerate(("source_only", "dann", "mcc", "supervised, random split")):
        recogniser.card.update(method=method, order=order)
        model.save_model(tmp_path / "recogniser" / f"0-conv1d-{order}", recogniser)
    assert Recogniser.load(tmp_path).card["method"] == "mcc"
    assert Recogniser.load(tmp_path, "dann").card["method"] == "dann"
    assert Recogniser.load(tmp_path / "recogniser" / "0-conv1d-0").card["method"] == "source_only"
    with pytest.raises(InputError, match="no recogniser of dane.*dann with conv1d"):
        Recogniser.load(tmp_path, "dane")
    with pytest.raises(InputError, match="direction 1"):
        Recogniser.load(tmp_path, direction=1)


def test_damaged_or_missing_models_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Recogniser.load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="--resume"):
        Recogniser.load(tmp_path)
    folder = tmp_path / "recogniser" / "0-conv1d-dann"
    model.save_model(folder, make_model())
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="damaged"):
        Recogniser.load(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="missing"):
        Recogniser.load(tmp_path)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"schema": 99}))
    with pytest.raises(InputError, match="schema 99"):
        Recogniser.load(tmp_path)
    (folder / "model.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Recogniser.load(tmp_path)

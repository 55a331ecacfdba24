"""A run on the layers of a pretrained encoder, from the command line to the model it leaves."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from jdann.cli import main
from jdann.errors import InputError
from jdann.experiments import layers
from jdann.features import make_recipe, store
from jdann.inference.export import Exported, write
from jdann.inference.model import find_model, load_model
from jdann.inference.recogniser import Recogniser
from jdann.report.card import recogniser_card, run_card
from tests.pretrained.test_whisper import SETTINGS, WEIGHTS
from tests.support.corpora import write_tones
from tests.support.models import speech
from tests.support.runs import arguments, fail
from tests.support.tiny_encoder import write_encoder

REFERENCES = Path(__file__).parents[1] / "pretrained" / "references"
OPTIONS = (
    "--config.methods=co_training",
    "--config.seeds=1",
    "--config.epochs=1",
    "--config.features.recipe=pretrained",
    "--config.encoder.name=mlp",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A folder with the files of a tiny HuBERT."""
    folder = tmp_path_factory.mktemp("encoder") / "hubert"
    shutil.copytree(REFERENCES / "hubert_base", folder)
    return folder


@pytest.fixture(scope="module")
def run(tones, data_dir, encoder, tmp_path_factory) -> Path:
    """The work directory of a run. No test may change it."""
    workdir = tmp_path_factory.mktemp("pretrained") / "run"
    options = (*OPTIONS, f"--config.features.encoder={encoder}")
    main(arguments(*tones, workdir, data_dir, *options))
    return workdir


@pytest.fixture
def clip(tones) -> Path:
    return tones[1].parent / "0-0-0.wav"


def test_the_model_names_the_layer_and_the_weights(run, encoder):
    card = Recogniser.load(run).card
    features = card["config"]["features"]
    assert features["layers"] in ("0", "1", "2") and features["encoder"] == str(encoder)
    assert len(features["encoder_digest"]) == 32
    assert json.loads((run / "config.json").read_text())["features"]["layers"] == "auto"
    (chosen,) = json.loads((run / "layers.json").read_text()).values()
    assert chosen["layers"] == features["layers"]


def test_the_cards_say_that_the_training_data_are_unknown(run):
    results = json.loads((run / "results.json").read_text())
    sections = [*run_card(results), *recogniser_card(Recogniser.load(run).card)]
    lines = [line for section in sections for line in section.lines]
    assert sum("does not know what the encoder" in line for line in lines) == 2
    assert any("layer" in note for note in results["notes"])


def test_a_copy_with_its_encoder_needs_nothing_else(run, encoder, clip, tmp_path, monkeypatch):
    recogniser = Recogniser.load(run)
    expected = recogniser(clip)
    recogniser.save(tmp_path / "copy", with_encoder=True)
    monkeypatch.chdir(tmp_path)
    hidden = encoder.rename(encoder.with_name("hidden"))
    try:
        assert Recogniser.load("copy")(clip) == expected
        assert recogniser.programs.settings.features.encoder == str(encoder)
        beside = tmp_path / "beside"
        recogniser.save(beside)
        with pytest.raises(InputError, match="hubert"):
            Recogniser.load(beside)(clip)
    finally:
        hidden.rename(encoder)


def test_other_weights_are_refused(run, encoder, clip, tmp_path):
    recogniser = Recogniser.load(run)
    recogniser.save(tmp_path / "copy", with_encoder=True)
    other = REFERENCES / "wav2vec2_base"
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(other / name, tmp_path / "copy" / "encoder" / name)
    with pytest.raises(InputError, match="digest"):
        Recogniser.load(tmp_path / "copy")(clip)


def test_another_corpus_is_scored_with_the_layer_of_the_run(run, data_dir, tmp_path, monkeypatch):
    third = write_tones(tmp_path / "third", 3, 180.0, speakers=2, takes=1)
    monkeypatch.setattr(layers, "_scores", lambda *_: pytest.fail("another layer is chosen"))
    main(["evaluate", str(run), "--target", str(third), "--data-dir", str(data_dir)])
    (results,) = run.glob("evaluation/*/results.json")
    layer = Recogniser.load(run).card["config"]["features"]["layers"]
    notes = json.loads(results.read_text())["notes"]
    assert any(f"layer {layer} of the pretrained encoder" in note for note in notes)


def test_a_model_without_a_precision_computes_in_float32(run, clip):
    model = load_model(find_model(run))
    features = model.card["config"]["features"]
    assert features.pop("encoder_precision") == "float32"
    assert Recogniser.of(model)(clip) == Recogniser.load(run)(clip)


@pytest.mark.slow
def test_a_model_of_mixed_precision_predicts_in_it(tones, data_dir, encoder, clip, tmp_path):
    options = (*OPTIONS, f"--config.features.encoder={encoder}", "--config.features.layers=1")
    options += ("--config.features.normalise=corpus", "--config.features.encoder_precision=mixed")
    main(arguments(*tones, tmp_path / "run", data_dir, *options))
    recogniser = Recogniser.load(tmp_path / "run")
    assert recogniser.card["config"]["features"]["encoder_precision"] == "mixed"
    (part,) = recogniser.prepare([clip])
    exact, mixed = (
        make_recipe("pretrained", recogniser.config.features.to_dict() | changes, 16000)
        for changes in ({"encoder_precision": "float32"}, {})
    )
    found = recogniser.features(part).valid
    batch = part.samples[None], np.array([len(part.samples)], np.int32)
    of_mixed, of_exact = (
        np.linalg.norm(found - jax.jit(recipe.extract)(*batch)[0]) for recipe in (mixed, exact)
    )
    assert of_mixed < of_exact / 5
    write(recogniser, tmp_path / "one.jdann")
    expected, exported = recogniser(clip), Exported(tmp_path / "one.jdann").file(clip)
    np.testing.assert_allclose([exported[k] for k in expected], list(expected.values()), atol=1e-3)


@pytest.mark.slow
def test_an_export_holds_the_encoder(run, clip, tmp_path):
    recogniser = Recogniser.load(run)
    write(recogniser, tmp_path / "one.jdann")
    expected, found = recogniser(clip), Exported(tmp_path / "one.jdann").file(clip)
    np.testing.assert_allclose([found[k] for k in expected], list(expected.values()), atol=1e-3)


@pytest.fixture(scope="module")
def whisper_run(tones, data_dir, tmp_path_factory) -> Path:
    """A run on a tiny Whisper, whose window has 1 s."""
    folder = tmp_path_factory.mktemp("whisper")
    encoder = write_encoder(folder / "encoder", WEIGHTS, SETTINGS)
    options = (f"--config.features.encoder={encoder}", "--config.audio.max_duration_s=1")
    main(arguments(*tones, folder / "run", data_dir, *OPTIONS, *options))
    return folder / "run"


@pytest.mark.slow
def test_an_export_hears_any_batch_and_length_though_the_encoder_has_a_window(
    whisper_run, tmp_path, capsys
):
    file = tmp_path / "one.jdann"
    main(["export", str(whisper_run), str(file)])
    exported, recogniser = Exported(file), Recogniser.load(whisper_run)
    assert exported.card["config"]["audio"]["max_duration_s"] == 1
    for durations in ((0.7, 0.3), (2.5, 0.99, 0.2)):
        clips = [speech(seconds, 120 + 40 * i) for i, seconds in enumerate(durations)]
        length = np.array([len(clip) for clip in clips])
        batch = np.stack([np.pad(clip, (0, length.max() - len(clip))) for clip in clips])
        expected = recogniser.probabilities(clips, 16000)
        np.testing.assert_allclose(exported(batch, length), expected, atol=1e-5)
    longer = speech(2.5)
    soundfile.write(tmp_path / "clip.wav", longer, 16000, subtype="FLOAT")
    found = exported.file(tmp_path / "clip.wav")
    assert "clip.wav: longer than 1 s, and the rest is not used" in capsys.readouterr().err
    expected = recogniser.probabilities([longer], 16000)
    np.testing.assert_allclose(list(found.values()), expected[0], atol=1e-5)


def test_a_model_of_other_features_has_no_encoder_to_copy(tmp_path):
    from tests.support.models import make_model

    with pytest.raises(InputError, match="no pretrained"):
        Recogniser.of(make_model()).save(tmp_path / "copy", with_encoder=True)


@pytest.mark.slow
def test_frames_of_a_layer_train_the_convolutions(tones, data_dir, encoder, clip, tmp_path):
    options = (
        *OPTIONS[1:3],
        "--config.methods=source_only,mcc",
        "--config.features.recipe=pretrained_frames",
        "--config.features.layers=1",
        "--config.encoder.name=conv1d",
        "--config.encoder.channels=8,8",
        "--config.encoder.strides=2,1",
        f"--config.features.encoder={encoder}",
    )
    main(arguments(*tones, tmp_path / "run", data_dir, *options))
    assert sum(Recogniser.load(tmp_path / "run")(clip).values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--config.features.encoder=", "features.encoder"),
        ("--config.features.encoder=no/where", "no/where"),
        ("--config.features.encoder=resemblyzer", "tells voices apart"),
        ("--config.features.layers=9", "from 0 to 2"),
        ("--config.features.beside=none", "beside=prosody"),
        ("--config.audio.sample_rate_hz=22050", "16000"),
    ],
)
def test_mistakes_are_one_line(
    tones, data_dir, encoder, tmp_path, monkeypatch, capsys, option, says
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options = (*OPTIONS, f"--config.features.encoder={encoder}", option)
    monkeypatch.setattr(store, "write_computed", lambda *_: pytest.fail("work before the check"))
    error = fail(capsys, *arguments(*tones, tmp_path, data_dir, *options))
    assert says in error.splitlines()[-1]

"""Runs that train the top of a pretrained encoder: what is trained, saved and refused."""

import shutil

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

from jdann import Recogniser
from jdann.cli import main
from jdann.inference import export
from jdann.pretrained.load import load_encoder
from tests.pretrained.test_whisper import REFERENCES
from tests.support.corpora import EMOTIONS
from tests.support.runs import arguments, fail, read

SCOPE = "encoder/params"
LORA = [f"{SCOPE}/block_1_{x}_{y}" for x in ("query", "value") for y in ("down", "up")]
OVERRIDES = (
    "baseline=false",
    "seeds_in=vmap",
    "encoder.name=pretrained_top",
    "encoder.blocks=1",
    "features.recipe=pretrained_frames",
    "features.layers=1",
    "features.normalise=corpus",  # so that a model's predictions are those of the run
)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A tiny WavLM that tests may change."""
    return shutil.copytree(REFERENCES / "wavlm_base", tmp_path_factory.mktemp("wavlm") / "files")


def options(tones, workdir, data_dir, encoder_folder, *more):
    overrides = (*OVERRIDES, f"features.encoder={encoder_folder}", *more)
    return arguments(*tones, workdir, data_dir, *(f"--config.{o}" for o in overrides))


def arrays_of(workdir, method):
    return load_file(workdir / "recogniser" / f"0-pretrained_top-{method}" / "model.safetensors")


def check_predictions(workdir, folder, method):
    """The loaded recogniser gives predictions.csv up to float16; returns it and a clip."""
    rows = [row for row in read(workdir / "predictions.csv") if row["method"] == method][:6]
    files = [folder / row["file"] for row in rows]
    expected = [[float(row[f"p_{name}"]) for name in EMOTIONS] for row in rows]
    recogniser = Recogniser.load(workdir, method)
    np.testing.assert_allclose(recogniser.probabilities(files), expected, atol=3e-3)
    return recogniser, files[0]


def test_lora_trains_its_matrices_and_the_saved_model_predicts_the_same(
    tones, data_dir, tmp_path, encoder_folder
):
    workdir = tmp_path / "run"
    more = ("encoder.lora_rank=2", "encoder.gradient_checkpointing=true", "methods=source_only")
    main(options(tones, workdir, data_dir, encoder_folder, *more))
    arrays = arrays_of(workdir, "source_only")
    names = {name for name in arrays if name.startswith(SCOPE)}
    assert names == {*LORA, f"{SCOPE}/mean", f"{SCOPE}/std"}
    assert all(arrays[name].any() for name in LORA)
    check_predictions(workdir, tones[1].parent, "source_only")


@pytest.mark.slow
def test_methods_train_lora_only_and_seeds_one_after_the_other_are_those_side_by_side(
    tones, data_dir, tmp_path, encoder_folder
):
    common = ("encoder.lora_rank=2", "methods=source_only,dann,mcc", "optimiser.weight_decay=0.1")
    for how in ("vmap", "map"):
        main(options(tones, tmp_path / how, data_dir, encoder_folder, *common, f"seeds_in={how}"))
    first = arrays_of(tmp_path / "vmap", "source_only")
    for method in ("source_only", "dann", "mcc"):
        arrays, again = (arrays_of(tmp_path / how, method) for how in ("vmap", "map"))
        assert all(arrays[name].any() for name in LORA)
        for name in ("mean", "std"):
            np.testing.assert_allclose(
                arrays[f"{SCOPE}/{name}"], first[f"{SCOPE}/{name}"], rtol=1e-6
            )
        for name in arrays:
            np.testing.assert_allclose(arrays[name], again[name], rtol=1e-2, atol=1e-3)
        recogniser, clip = check_predictions(tmp_path / "vmap", tones[1].parent, method)
    export.write(recogniser, tmp_path / "model.jdann")
    exported = export.Exported(tmp_path / "model.jdann")
    assert exported.file(clip) == pytest.approx(recogniser(clip), abs=1e-5)


@pytest.mark.slow
def test_full_fine_tuning_changes_the_blocks_and_saves_them(
    tones, data_dir, tmp_path, encoder_folder
):
    main(options(tones, tmp_path / "run", data_dir, encoder_folder, "methods=dann"))
    arrays = arrays_of(tmp_path / "run", "dann")
    pretrained = load_encoder(str(encoder_folder)).params["transformer"]["block_1"]
    pretrained = flatten_dict(pretrained, sep="/")
    for name, before in pretrained.items():
        after = arrays[f"{SCOPE}/block_1/{name}"]
        # The softmax does not change if all scores of a frame do.
        assert name == "attention/key/bias" or np.abs(after - before[None]).max() > 1e-5
        np.testing.assert_allclose(after, np.stack([before] * 2), atol=0.1)
    check_predictions(tmp_path / "run", tones[1].parent, "dann")


@pytest.mark.slow
def test_what_does_not_fit_the_features_is_refused(
    tones, data_dir, tmp_path, encoder_folder, capsys
):
    for override, message in (
        ("features.layers=0,1", "continues one layer"),
        ("encoder.blocks=2", "has 1 blocks above layer 1"),
        ("features.recipe=frames", "set --config.features.recipe to pretrained or"),
    ):
        words = options(tones, tmp_path / "run", data_dir, encoder_folder, override)
        last = fail(capsys, *words).splitlines()[-1]
        assert last.startswith("jdann: ") and message in last

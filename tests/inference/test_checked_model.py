"""Files of a model that were damaged, changed or mixed up: each is refused in one line."""

import json
import shutil

import jax
import numpy as np
import pytest

from jdann.cli import main
from jdann.errors import InputError
from jdann.inference import model
from jdann.inference.recogniser import Recogniser
from tests.support.models import LABELS, make_model_of_vectors
from tests.support.tampering import as_earlier, edit_arrays, edit_card, write_digest


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "model"
    model.save_model(folder, make_model_of_vectors())
    return folder


@pytest.fixture
def folder(written, tmp_path):
    """A copy of a model that a test may spoil."""
    return shutil.copytree(written, tmp_path / "model")


def refusal(folder) -> str:
    """The line by which a model is refused; it says what to do."""
    with pytest.raises(InputError) as refused:
        model.load_model(folder)
    line = str(refused.value)
    assert "\n" not in line and "copy both files of the model again" in line
    return line


def put(key, value):
    """A change of a card that sets a dotted key."""

    def change(card):
        *groups, name = key.split(".")
        for group in groups:
            card = card[group]
        card[name] = value

    return change


def drop(key):
    """A change of a card that removes a dotted key."""

    def change(card):
        *groups, name = key.split(".")
        for group in groups:
            card = card[group]
        del card[name]

    return change


CARDS = {
    "no object": (lambda card: ["labels"], "expected a JSON object"),
    "no schema": (drop("schema"), "has schema missing, expected 2 to 5"),
    "later schema": (put("schema", 6), "schema 6, expected 2 to 5.*install a later jdann"),
    "schema as text": (put("schema", "5"), "has schema '5'"),
    "other schema": (put("schema", 4), "was changed after it was written"),
    "no digest": (drop("digest"), "digest is missing"),
    "half a digest": (drop("digest.card"), "digest is .*expected the texts"),
    "no temperature": (drop("temperature"), "temperature is missing"),
    "temperature 0": (put("temperature", 0), "temperature is 0; expected a number of at least"),
    "negative temperature": (put("temperature", -1.5), "temperature is -1.5; expected a number"),
    "NaN": (put("temperature", float("nan")), "temperature is nan; expected a number"),
    "infinity": (put("temperature", float("inf")), "temperature is inf; expected a number"),
    "huge whole number": (put("temperature", 10**400), "temperature is 1000.*expected a number"),
    "temperature as text": (put("temperature", "1.5"), "temperature is '1.5'; expected a number"),
    "true": (put("order", True), "order is True; expected a whole number"),
    "other temperature": (put("temperature", 2.5), "was changed after it was written"),
    "rate 0": (put("config.audio.sample_rate_hz", 0), "sample_rate_hz is 0; expected a whole"),
    "rate as text": (put("config.audio.sample_rate_hz", "16000"), "sample_rate_hz is '16000'"),
    "negative size": (put("config.encoder.hidden", [256, -64]), r"hidden is \[256, -64\]"),
    "config out of range": (put("config.encoder.dropout", 2), "dropout is 2; expected a number"),
    "other config": (put("config.features.n_mels", 80), "was changed after it was written"),
    "unknown normalisation": (put("config.features.normalise", "x"), "expected one of speaker"),
    "no group": (put("config.audio", 3), "config.audio is 3; expected a JSON object"),
    "surplus audio": (put("config.audio.pitch", 3), "config.audio holds 'pitch'"),
    "no size": (drop("config.features.vector_size"), "vector_size is missing"),
    "no config": (drop("config"), "is missing"),
    "no labels": (drop("labels"), "labels is missing; expected a list"),
    "labels as text": (put("labels", "neutral"), "labels is 'neutral'; expected a list"),
    "permuted": (put("labels", LABELS[::-1]), "was changed after it was written"),
    "doubled": (put("labels", ["sad", "sad"]), "expected a list of emotions, each once"),
    "too few": (put("labels", ["sad"]), "expected two or more"),
    "unknown label": (put("labels", ["sad", "bored"]), "labels holds 'bored'"),
    "no members": (put("members", []), r"members is \[\]; expected a list"),
    "values 0": (put("values", 0), "values is 0; expected a whole number of at least 1"),
    "source as text": (put("source", "a"), "source is 'a'; expected a JSON object"),
}


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_that_was_changed_is_refused(folder, kind):
    change, message = CARDS[kind]
    edit_card(folder, change)
    line = refusal(folder)
    assert line.startswith(str(folder / model.CARD))
    assert pytest.RaisesExc(InputError, match=message).matches(InputError(line)), line


def replace(name, change):
    """A change of the arrays that replaces one."""
    return lambda arrays: arrays.update({name: change(arrays[name])})


def with_value(number, place=0):
    """A change of an array that sets one of its values."""

    def change(array):
        array = array.copy()
        array.flat[place] = number
        return array

    return change


MOMENTS = ("mean", "std")
KERNEL = "encoder/params/Dense_0/kernel"
ARRAYS = {
    "missing": (lambda arrays: arrays.pop("classifier/bias"), "classifier/bias is missing"),
    "half a part": (lambda a: a.pop("reference/covariance"), "reference/covariance is missing"),
    "no encoder": (
        lambda a: [a.pop(n) for n in list(a) if n.startswith("encoder/params")],
        "begins with encoder/params/",
    ),
    "surplus": (lambda a: a.update(extra=np.ones(2, np.float32)), "holds 'extra', which no model"),
    "file and folder": (
        lambda a: a.update({"encoder/params/Dense_0": a[KERNEL]}),
        "holds 'encoder/params/Dense_0', which no model",
    ),
    "members": (replace("classifier/bias", lambda x: x[:1]), r"expected \[2 members, 5 classes\]"),
    "members of the encoder": (replace(KERNEL, lambda x: x[:1]), r"Dense_0/kernel has shape"),
    "classes": (
        replace("classifier/kernel", lambda x: x[..., :4]),
        r"\(2, 4, 4\); expected \[2 members, 4 width, 5 classes\]",
    ),
    "rank": (replace("normalisation/mean", np.ravel), "normalisation/mean has shape"),
    "values": (replace("reference/mean", lambda x: x[:, 1:]), "expected .5 classes, 6 values"),
    "views": (
        replace("normalisation/bias", lambda x: np.zeros((2, 5), np.float32)),
        "normalisation/bias has shape",
    ),
    "type": (replace(KERNEL, np.float64), "is of type float64; expected float32"),
    "type of booleans": (replace("reference/present", np.float32), "expected bool"),
    "NaN": (replace(KERNEL, with_value(np.nan, 7)), "Dense_0/kernel holds values out of range"),
    "infinity": (replace("classifier/bias", with_value(-np.inf)), "classifier/bias holds values"),
    "std 0": (replace("normalisation/std", with_value(0)), "expected numbers above 0"),
    "negative variance": (
        replace("encoder/batch_stats/BatchNorm_0/var", with_value(-1)),
        "var holds values out of range; expected numbers of at least 0",
    ),
    "share": (replace("normalisation/share", with_value(2)), "of at least 0 and at most 1"),
    "asymmetric": (replace("reference/covariance", with_value(9, 1)), "not symmetric and pos"),
    "not positive": (replace("reference/covariance", np.negative), "not symmetric and positive"),
    "correlated by more than 1": (
        replace("reference/covariance", lambda x: x - 0.9 * np.diag(np.diag(x)) + 0.5),
        "not symmetric and positive",
    ),
    "directions": (replace("familiarity/directions", lambda x: 2 * x), "is not orthonormal"),
    "limit": (replace("familiarity/limit", with_value(-1)), "limit holds values out of range"),
    "directions that overflow": (
        replace("familiarity/directions", with_value(3e38)),
        "is not orthonormal",
    ),
    "covariance that overflows": (
        replace("reference/covariance", with_value(-3e38, 1)),
        "not symmetric and positive",
    ),
    "no place": (
        lambda a: a.update({f"normalisation/{n}": np.ones((0, 6), np.float32) for n in MOMENTS}),
        r"mean has shape \(0, 6\)",
    ),
    "places of voices": (
        replace("normalisation/voice", lambda x: np.zeros((1, 3), np.float32)),
        "has 3 columns; expected 2 at most",
    ),
}


@pytest.mark.parametrize("schema", [5, 4])
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_no_model_has_are_refused(folder, kind, schema):
    """Even if their digest fits, or if a model of an earlier version has none."""
    change, message = ARRAYS[kind]
    edit_arrays(folder, change, with_new_digest=True)
    if schema < 5:
        as_earlier(folder, schema)
    line = refusal(folder)
    assert line.startswith(str(folder / model.WEIGHTS))
    assert pytest.RaisesExc(InputError, match=message).matches(InputError(line)), line


def test_a_covariance_without_a_digest_is_checked_in_all_directions(folder):
    """The correlations -.9 of three values are possible for two of them, but not for all."""
    matrix = np.eye(6, dtype=np.float32)
    matrix[:3, :3] = 1.9 * np.eye(3) - 0.9
    edit_arrays(folder, replace("reference/covariance", lambda _: matrix), with_new_digest=True)
    model.load_model(folder)
    as_earlier(folder, 4)
    assert "not symmetric and positive" in refusal(folder)


def test_a_file_of_another_model_is_refused(folder, tmp_path):
    for name, other in (
        ("seeds", make_model_of_vectors(members=3)),
        ("values", make_model_of_vectors(values=7)),
    ):
        model.save_model(tmp_path / name, other)
        shutil.copy(tmp_path / name / model.WEIGHTS, folder)
        line = refusal(folder)
        assert line.startswith(str(folder / model.WEIGHTS)) and "belongs to another model" in line


@pytest.mark.parametrize("name", [model.WEIGHTS, model.CARD])
@pytest.mark.parametrize("schema", [5, 4])
def test_damaged_files_are_refused(folder, name, schema):
    """Truncated, empty, missing, or a folder."""
    if schema < 5:
        as_earlier(folder, schema)
    path = folder / name
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\xff" * 20, b"[" * 100_000):
        path.write_bytes(damaged)
        assert refusal(folder).startswith(str(path))
    path.unlink()
    assert f"{path}: is missing" in refusal(folder)
    path.mkdir()
    assert refusal(folder).startswith(str(path))


def test_free_text_may_be_changed(folder):
    def change(card):
        card["source"]["description"] = "another description"
        card["notes"] = "mine"
        card["date"] = "today"

    before = model.load_model(folder)
    edit_card(folder, change)
    after = model.load_model(folder)
    assert after.card["notes"] == "mine"
    np.testing.assert_array_equal(before.adaptation.mean, after.adaptation.mean)


@pytest.mark.parametrize("schema", [2, 3, 4])
def test_models_of_earlier_versions_are_read(folder, schema):
    def remove(arrays):
        for name in list(arrays):
            is_view = name in ("normalisation/weight", "normalisation/bias", "normalisation/share")
            if name.startswith("familiarity") or (
                schema == 2 and (is_view or name.startswith("reference"))
            ):
                del arrays[name]

    if schema < 4:
        edit_arrays(folder, remove, with_new_digest=False)
    as_earlier(folder, schema)
    loaded = model.load_model(folder)
    assert (loaded.familiarity is None) == (schema < 4)
    assert (loaded.reference is None) == (schema == 2)
    model.save_model(folder, loaded)
    assert model.load_model(folder).card["schema"] == 5


def test_parameters_of_another_encoder_are_refused_before_they_are_used(folder):
    """A model of an earlier version has no digest, and shapes of parameters need the encoder."""
    as_earlier(folder, 4)
    vector = np.zeros(6, np.float32)
    assert np.isfinite(Recogniser.load(folder).probabilities([vector])).all()
    for key, value, message in (
        ("config.encoder.hidden", [5], "the encoder needs .*model.json"),
        ("config.encoder.batch_norm", False, "the encoder needs none.*model.json"),
        ("config.features.vector_size", 7, "the encoder needs .*model.json"),
        ("encoder", "banana", "banana.*choose one of"),
    ):
        before = (folder / model.CARD).read_text()
        edit_card(folder, put(key, value))
        with pytest.raises(InputError, match=message):
            _ = Recogniser.load(folder).programs.inference
        (folder / model.CARD).write_text(before)


def test_the_normalisation_of_other_features_is_refused_before_it_is_used():
    made, vector = make_model_of_vectors(), np.zeros(6, np.float32)
    seven, voice = np.ones((1, 7), np.float32), np.zeros((1, 1), np.float32)
    for changed, message in (
        (made.adaptation._replace(mean=seven, std=seven), "normalises 7 values, not 6"),
        (made.adaptation._replace(voice=voice), "the features do not tell the pitch"),
    ):
        with pytest.raises(InputError, match=message):
            Recogniser.of(made._replace(adaptation=changed)).probabilities([vector])


def test_a_model_without_finite_answers_is_refused():
    """Finite parameters may be so large that their products are not."""
    made = make_model_of_vectors()
    variables = jax.tree.map(lambda array: np.full_like(array, 1e38), made.variables)
    with pytest.raises(InputError, match="not finite"):
        Recogniser.of(made._replace(variables=variables)).probabilities([np.ones(6)])


def test_the_command_line_refuses_in_one_line(written, tmp_path, capsys):
    folder = shutil.copytree(written, tmp_path / "model")
    (tmp_path / "clip.wav").write_bytes(b"")
    edit_card(folder, put("temperature", 0))
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(folder), str(tmp_path / "clip.wav")])
    output = capsys.readouterr()
    assert stopped.value.code == 2 and not output.out
    assert output.err.count("\n") == 1 and "temperature is 0; expected" in output.err


def test_the_same_model_gives_the_same_bytes(written, tmp_path):
    for _ in range(8):
        model.save_model(tmp_path, make_model_of_vectors())
        for name in (model.WEIGHTS, model.CARD):
            assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
    model.save_model(tmp_path, model.load_model(written))
    for name in (model.WEIGHTS, model.CARD):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path):
    made = make_model_of_vectors()
    made.card["calibration"] = {"expected_calibration_error": {"none": float("nan")}}
    model.save_model(tmp_path, made)
    card = json.loads((tmp_path / model.CARD).read_text())
    assert card["calibration"]["expected_calibration_error"] == {"none": None}
    write_digest(tmp_path)
    assert model.load_model(tmp_path).card == card

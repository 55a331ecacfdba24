"""A recogniser as one file: its answers are the same, and a damaged file is refused."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jdann import audio
from jdann.errors import InputError
from jdann.inference import export
from jdann.inference.recogniser import Recogniser
from tests.support.models import make_model, speech


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.of(make_model())


@pytest.fixture(scope="module")
def exported(recogniser, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.jdann"
    message = export.write(recogniser.only("happy", "angry", "sad"), path)
    assert "model.jdann" in message and "happy, angry, sad" in message
    return path


def clips() -> list[np.ndarray]:
    """Plain, with silence around, longer than is heard, barely long enough, and quiet."""
    silence = np.zeros(9000, np.float32)
    wave = speech(2.0, 140)
    return [
        wave,
        np.concatenate([silence, speech(1.0), silence]),
        speech(6.5, 210),
        speech(0.3),
        0.01 * speech(1.0, 250),
    ]


def padded(signals: list[np.ndarray], fill: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    length = np.array([len(clip) for clip in signals], np.int32)
    batch = np.full((len(signals), length.max()), fill, np.float32)
    for row, clip in zip(batch, signals, strict=True):
        row[: len(clip)] = clip
    return batch, length


@pytest.mark.slow
def test_says_what_python_says(recogniser, exported):
    subset = recogniser.only("happy", "angry", "sad")
    program = export.Exported(exported)
    assert program.labels == subset.labels == ("happy", "angry", "sad")
    expected = subset.probabilities(clips(), 16000)
    np.testing.assert_allclose(program(*padded(clips())), expected, atol=1e-5)
    np.testing.assert_allclose(
        program(*padded(clips()[:1])), expected[:1], atol=1e-5
    )  # another batch and length
    np.testing.assert_allclose(
        program(*padded(clips()[:4], fill=0.3)), expected[:4], atol=1e-5
    )  # padding is not heard


def test_silence_gives_nan(exported):
    rows = export.Exported(exported)(
        *padded([speech(1.0), np.zeros(16000, np.float32), speech(0.05)])
    )
    assert np.isfinite(rows[0]).all() and np.isnan(rows[1:]).all()


@pytest.mark.parametrize("trim_db", [0.0, 20.0, 35.0])
def test_prepares_audio_as_in_training(recogniser, trim_db):
    settings = recogniser.audio_settings._replace(trim_db=trim_db, offset_s=0.1)
    batch, length = padded(clips())
    prepared, size, usable = export.prepare(batch, length, settings)
    for i, clip in enumerate(clips()):
        expected = audio.prepare(clip, 16000, settings).samples
        assert usable[i] and size[i] == len(expected)
        np.testing.assert_allclose(prepared[i, : size[i]], expected, atol=1e-6)
        assert not np.any(prepared[i, size[i] :])


def test_needs_neither_flax_nor_jdann(recogniser, exported, tmp_path):
    np.savez(tmp_path / "in.npz", samples=padded(clips()[:1])[0], length=padded(clips()[:1])[1])
    code = f"""
import json, sys, zipfile, jax.export, numpy as np
with zipfile.ZipFile({str(exported)!r}) as file:
    card = json.loads(file.read("card.json"))
    program = jax.export.deserialize(bytearray(file.read("program.bin")))
arrays = np.load({str(tmp_path / "in.npz")!r})
probabilities = np.asarray(program.call(arrays["samples"], arrays["length"])).tolist()
print(json.dumps([card["labels"], card["sample_rate_hz"], probabilities]))
assert not {{"flax", "jdann"}} & set(sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    labels, rate_hz, rows = json.loads(run.stdout)
    assert labels == ["happy", "angry", "sad"] and rate_hz == 16000
    np.testing.assert_allclose(
        rows, recogniser.only(*labels).probabilities(clips()[:1], 16000), atol=1e-5
    )


def test_reads_files_of_any_rate(recogniser, exported, tmp_path):
    samples = np.stack([speech(1.2, rate_hz=44100)] * 2, 1) + 0.05  # with a constant offset
    soundfile.write(tmp_path / "clip.wav", samples, 44100)
    probabilities = export.Exported(exported).file(tmp_path / "clip.wav")
    expected = recogniser.only(*probabilities)(tmp_path / "clip.wav")
    assert probabilities == pytest.approx(expected, abs=5e-5)
    with pytest.raises(InputError, match="absent.wav"):
        export.Exported(exported).file(tmp_path / "absent.wav")


def test_says_when_a_part_of_a_file_is_not_used(exported, tmp_path, caplog):
    silence = np.zeros(5 * 16000, np.float32)
    soundfile.write(tmp_path / "trimmed.wav", np.concatenate([silence, speech(1.0)]), 16000)
    soundfile.write(tmp_path / "long.wav", speech(6.5), 16000)
    program = export.Exported(exported)
    program.file(tmp_path / "trimmed.wav")
    assert not caplog.messages
    program.file(tmp_path / "long.wav")
    (message,) = caplog.messages
    assert message.endswith("long.wav: longer than 5 s, and the rest is not used")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "by"), [("resnet50", "speaker"), ("conv1d", "utterance"), ("mlp", "speaker")]
)
def test_slow_encoders_and_normalisations(encoder, by, tmp_path):
    recogniser = Recogniser.of(make_model(encoder, members=1, by=by))
    export.write(recogniser, tmp_path / "model.jdann")
    expected = recogniser.probabilities(clips(), 16000)
    np.testing.assert_allclose(
        export.Exported(tmp_path / "model.jdann")(*padded(clips())), expected, atol=1e-5
    )


EXPORT_CARDS = {
    "later schema": ({"schema": 3}, "schema 3, expected 1 to 2.*install a later jdann"),
    "temperature": ({"temperature": 2.5}, "card.json: was changed after it was written"),
    "temperature 0": ({"temperature": 0}, "card.json: temperature is 0; expected"),
    "permuted": ({"labels": ["sad", "happy", "angry"]}, "was changed after it was written"),
    "too few labels": ({"labels": ["sad"]}, "expected two or more"),
    "rate": ({"sample_rate_hz": 0}, "sample_rate_hz is 0; expected a whole number"),
    "samples": ({"least_samples": None}, "least_samples is missing"),
    "no digest": ({"digest": None}, "digest is missing"),
}


def rewrite(path, exported, change):
    """Writes an export of which `change` has edited the members."""
    with zipfile.ZipFile(exported) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


@pytest.mark.parametrize("kind", EXPORT_CARDS)
def test_a_changed_card_is_refused(exported, tmp_path, kind):
    values, message = EXPORT_CARDS[kind]

    def change(members):
        card = json.loads(members["card.json"]) | values
        members["card.json"] = json.dumps(card).encode()

    rewrite(tmp_path / "changed.jdann", exported, change)
    with pytest.raises(InputError, match=f"^{tmp_path}.*{message}.*write it with jdann export"):
        export.Exported(tmp_path / "changed.jdann")


def test_damaged_archives_and_programs_are_refused(exported, tmp_path):
    whole = exported.read_bytes()
    flipped = whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1])
    changes = {
        "truncated": whole[:-100],
        "flipped": flipped + whole[len(flipped) :],
        "encrypted": whole.replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
        ),
        "empty": b"",
    }
    for name, content in changes.items():
        assert content != whole
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: no export, or damaged"):
            export.Exported(tmp_path / name)
    for name in ("card.json", "program.bin"):
        rewrite(tmp_path / "part", exported, lambda members, name=name: members.pop(name))
        with pytest.raises(InputError, match=f"damaged .*{name}"):
            export.Exported(tmp_path / "part")
    rewrite(tmp_path / "other", exported, lambda m: m.update({"program.bin": b"another program"}))
    with pytest.raises(InputError, match=r"program\.bin: was changed, or belongs to another model"):
        export.Exported(tmp_path / "other")


def test_an_export_of_an_earlier_version_is_read_and_its_program_checked(exported, tmp_path):
    def change(members):
        card = json.loads(members["card.json"]) | {"schema": 1}
        del card["digest"]
        members["card.json"] = json.dumps(card).encode()

    rewrite(tmp_path / "earlier", exported, change)
    assert export.Exported(tmp_path / "earlier").labels == ("happy", "angry", "sad")

    def change_labels(members):
        card = json.loads(members["card.json"])
        members["card.json"] = json.dumps(card | {"labels": ["happy", "angry"]}).encode()

    rewrite(tmp_path / "labels", tmp_path / "earlier", change_labels)
    with pytest.raises(InputError, match="expected a program of .* 2 probabilities"):
        export.Exported(tmp_path / "labels")
    rewrite(tmp_path / "bad", tmp_path / "earlier", lambda m: m.update({"program.bin": b"x" * 99}))
    with pytest.raises(InputError, match=r"program\.bin: cannot be read by jax"):
        export.Exported(tmp_path / "bad")


def test_an_export_tells_no_folder_of_this_machine(exported):
    """Nor a line of the source, so that its bytes do not change with each edit."""
    with zipfile.ZipFile(exported) as file:
        program = file.read("program.bin")
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert b".py" not in program and str(Path(export.__file__).parent).encode() not in program


@pytest.mark.slow
def test_the_same_recogniser_gives_the_same_bytes(exported, tmp_path):
    """In another process too, in which Python orders sets in another way."""
    code = f"""
from pathlib import Path
from jdann.inference import export
from jdann.inference.recogniser import Recogniser
from tests.support.models import make_model
subset = Recogniser.of(make_model()).only("happy", "angry", "sad")
export.write(subset, Path({str(tmp_path / "again.jdann")!r}))
"""
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert (tmp_path / "again.jdann").read_bytes() == exported.read_bytes()


def test_nothing_is_overwritten_and_damage_is_named(recogniser, exported, tmp_path):
    before = exported.read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        export.write(recogniser, exported)
    with pytest.raises(InputError, match="no such folder"):
        export.write(recogniser, tmp_path / "a" / "b")
    (tmp_path / "half.jdann").write_bytes(before[: len(before) // 2])
    with zipfile.ZipFile(tmp_path / "empty.jdann", "w"):
        pass
    for name, message in (
        ("half.jdann", "damaged"),
        ("empty.jdann", "damaged"),
        ("absent.jdann", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            export.Exported(tmp_path / name)

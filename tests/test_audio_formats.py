"""Audio that libsndfile cannot read by itself: other formats, no seeking, odd headers."""

import contextlib
import io
import subprocess

import numpy as np
import pytest
import soundfile

from jdann import audio, ffmpeg
from jdann.audio import AudioError, decode, read, windows

RATE_HZ = 16000


def tone(duration_s=1.5, rate_hz=RATE_HZ):
    """A tone whose pitch rises, so that each part of it is different."""
    time = np.arange(int(duration_s * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)


def likeness(x, y):
    """The largest correlation of two signals over small delays, which coders add."""
    n = min(len(x), len(y)) - 4000
    x = x[2000 : 2000 + n]
    return max(np.corrcoef(x, y[shift : shift + n])[0, 1] for shift in range(0, 4000, 8))


# --- Formats of ffmpeg ---
CODERS = {
    "a.m4a": ("-c:a", "aac"),
    "a.webm": ("-c:a", "libopus"),
    "a.wma": ("-c:a", "wmav2"),
    "a.aac": ("-c:a", "aac"),
    "a.mkv": ("-c:a", "pcm_s16le"),
    "a.mov": ("-c:a", "pcm_s16be"),
    "a.wv": ("-c:a", "wavpack"),
    "a.avi": ("-c:a", "pcm_s16le"),
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """The tone in each format, encoded by ffmpeg."""
    program = ffmpeg.find()
    if program is None:
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path_factory.mktemp("encoded")
    soundfile.write(folder / "tone.wav", tone(), RATE_HZ)
    for name, coder in CODERS.items():
        command = [program, "-v", "error", "-i", "tone.wav", *coder, name]
        subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("name", CODERS)
def test_ffmpeg_reads_what_libsndfile_cannot(encoded, name):
    samples, rate_hz = read(encoded / name)
    from_bytes, _ = decode((encoded / name).read_bytes())
    part, _ = read(encoded / name, 0.5, 1.0)
    resampled = audio.mono(samples, rate_hz, RATE_HZ)
    assert len(resampled) == pytest.approx(1.5 * RATE_HZ, abs=0.1 * RATE_HZ)
    assert likeness(tone(), resampled) > 0.99
    np.testing.assert_array_equal(from_bytes, samples)
    np.testing.assert_array_equal(part, samples[round(0.5 * rate_hz) : round(rate_hz)])
    starts = [start_s for start_s, _, _ in windows(encoded / name, 1.0, 0.5)]
    assert starts[:2] == [0.0, 0.5]


def test_damaged_files_of_ffmpeg_are_refused(encoded):
    data = (encoded / "a.m4a").read_bytes()
    for damaged in (data[:64], data[: len(data) // 2], data[:600] + bytes(1200) + data[1800:]):
        with pytest.raises(AudioError, match=r"is MPEG-4 \(m4a, mp4\), but damaged"):
            decode(damaged)


def test_a_long_upload_is_not_converted_as_a_whole(encoded):
    with pytest.raises(audio.TooMuchAudio, match="lasts 1 s; expected at most 0.2 s"):
        decode((encoded / "a.mkv").read_bytes(), longest_s=0.2)


def test_without_ffmpeg_the_format_is_named(monkeypatch):
    monkeypatch.setattr(ffmpeg, "find", lambda: None)
    with pytest.raises(AudioError, match=r"is WebM or Matroska, which needs ffmpeg: pip install"):
        decode(b"\x1aE\xdf\xa3" + bytes(100))


def test_a_list_of_files_is_no_audio(tmp_path):
    """ffmpeg would open the files and addresses that such a list names."""
    (tmp_path / "a.m4a").write_text("#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(AudioError, match="not audio, or damaged"):
        read(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "a pointer of Git LFS",
        ),
        (b"../.git/annex/objects/a/b/SHA256E-s1--c.wav", "a pointer of git-annex"),
        (b"<!DOCTYPE html><html><head>", "a web page"),
        (b"\n <HTML><body>404", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "a web page"),
        (b'{"error": "not found"}', "JSON text"),
        (b"PK\x03\x04\x14\x00", "a zip archive"),
        (b"\x1f\x8b\x08\x00", "a compressed archive"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"%PDF-1.7", "a PDF document"),
        (b"MThd\x00\x00\x00\x06", "MIDI"),
        (bytes(4000), "a file of zeros"),
    ],
)
def test_what_is_no_audio_is_called_what_it_is(tmp_path, data, name):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    for read_it in (lambda: read(path), lambda: decode(data), lambda: list(windows(path, 1, 1))):
        with pytest.raises(AudioError, match=f"^is {name}"):
            read_it()


# --- Codings that can only be read in order ---
@pytest.mark.parametrize(
    ("container", "coding"),
    [
        ("WAV", "GSM610"),
        ("WAV", "G721_32"),
        ("WAV", "NMS_ADPCM_16"),
        ("WAV", "NMS_ADPCM_24"),
        ("WAV", "NMS_ADPCM_32"),
        ("AU", "G721_32"),
        ("AU", "G723_24"),
        ("AU", "G723_40"),
        ("AIFF", "GSM610"),
        ("W64", "GSM610"),
    ],
)
def test_codings_without_seeking_are_read_from_the_start(tmp_path, container, coding):
    path = tmp_path / f"a.{container.lower()}"
    soundfile.write(path, tone(), RATE_HZ, format=container, subtype=coding)
    samples, _ = read(path)
    assert likeness(tone(), samples) > 0.9
    np.testing.assert_array_equal(read(path, 0.5, 1.0)[0], samples[8000:16000])
    np.testing.assert_array_equal(decode(path.read_bytes())[0], samples)
    (_, first, _), *_ = windows(path, 1.0, 0.5)
    np.testing.assert_array_equal(first, samples[:16000])


# --- Headers ---
def wav_bytes(samples, **how):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", **how)
    return file.getvalue()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_a_wav_whose_header_says_0_bytes_is_read_to_its_end(tmp_path, subtype):
    """So is a file whose writer was killed, or wrote into a pipe."""
    data = wav_bytes(tone(), subtype=subtype)
    position = data.index(b"data") + 4
    broken = data[:4] + bytes(4) + data[8:position] + bytes(4) + data[position + 4 :]
    (tmp_path / "a.wav").write_bytes(broken)
    np.testing.assert_array_equal(decode(broken)[0], decode(data)[0])
    np.testing.assert_array_equal(read(tmp_path / "a.wav", 0.5, 1)[0], decode(data)[0][8000:16000])


def test_an_empty_wav_stays_empty():
    """Also if something follows the data that are not there."""
    empty = wav_bytes(np.zeros(0, np.float32))
    for data in (empty, empty + b"LIST\x04\x00\x00\x00INFO"):
        with pytest.raises(AudioError, match="holds no audio"):
            decode(data)


def test_flac_without_a_length_is_read_to_its_end(tmp_path):
    """A program that writes into a pipe cannot fill in the number of samples."""
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE_HZ, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] &= 0xF0  # the number of samples in STREAMINFO: 36 bits
    data[22:26] = bytes(4)
    if ffmpeg.find() is None:
        with pytest.raises(AudioError, match="does not say how long"):
            decode(bytes(data))
        return
    np.testing.assert_allclose(decode(bytes(data))[0], tone(), atol=1e-4)


def encoded_by_libsndfile(container, coding=None):
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE_HZ, format=container, subtype=coding)
    return file.getvalue()


CODINGS = [
    *(("AU", "PCM_16"), ("AU", "G721_32"), ("W64", "FLOAT"), ("W64", "MS_ADPCM")),
    *(("W64", "GSM610"), ("RF64", "PCM_24"), ("NIST", "PCM_16"), ("NIST", "ULAW")),
    *(("AIFF", "PCM_16"), ("CAF", "ALAC_16"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16")),
]


@pytest.mark.parametrize(("container", "coding"), CODINGS)
def test_the_header_says_where_the_samples_end(tmp_path, container, coding):
    """A file that was cut off is no shorter one, and bytes after the samples are no sound."""
    data = encoded_by_libsndfile(container, coding)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    whole, _ = read(path)
    for rest in (b"LIST garbage " * 500, bytes(2000), b"\x00"):
        path.write_bytes(data + rest)
        np.testing.assert_array_equal(read(path)[0], whole)
        np.testing.assert_array_equal(decode(data + rest)[0], whole)
        pieces = [window for _, window, _ in windows(path, 1.0, 1.0)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
    for share in (0.3, 0.6, 0.85):
        cut = data[: int(share * len(data))]
        path.write_bytes(cut)
        for read_it in (read, lambda _, cut=cut: decode(cut), lambda p: list(windows(p, 1.0, 1.0))):
            with pytest.raises(AudioError, match="cut off|damaged"):
                read_it(path)


@pytest.mark.parametrize("container", ["AU", "W64"])
def test_a_size_that_is_not_known_is_no_size(container):
    """Programs that write into a pipe fill the size with ones."""
    data = encoded_by_libsndfile(container)
    place, width, base = {"AU": (8, 4, 0), "W64": (96, 8, 24)}[container]
    order = "big" if container == "AU" else "little"
    size = int.from_bytes(data[place : place + width], order) - base
    assert size == 2 * len(tone()), "the place of the size"
    unknown = data[:place] + b"\xff" * width + data[place + width :]
    np.testing.assert_array_equal(decode(unknown)[0], decode(data)[0])


@pytest.mark.parametrize("suffix", ["au", "snd", "vox", "gsm", "raw", "sd2", "mp3"])
def test_the_name_of_a_file_does_not_say_how_it_is_read(tmp_path, suffix):
    """libsndfile takes any content for speech of a telephone if the name ends in .au or .vox."""
    path = tmp_path / f"a.{suffix}"
    path.write_text("file,emotion\na.wav,sad\n" * 500)
    with pytest.raises(AudioError, match="not audio"):
        read(path)
    assert audio.duration_s(path) is None
    path.write_bytes(encoded_by_libsndfile("FLAC"))
    np.testing.assert_array_equal(read(path)[0], decode(path.read_bytes())[0])
    assert audio.duration_s(path) == 1.5


def test_a_size_below_zero_prints_nothing(capfd):
    """libsndfile then seeks to a place before the beginning of the file."""
    data = bytearray(encoded_by_libsndfile("CAF"))
    place = data.index(b"data") + 4
    data[place : place + 8] = (2**63 + 5).to_bytes(8, "big")
    zero = bytearray(wav_bytes(tone(), subtype="PCM_16"))
    zero[16:20] = (2**32 - 200).to_bytes(4, "little")
    for content in (bytes(data), bytes(zero)):
        with contextlib.suppress(AudioError):
            decode(content)
    assert capfd.readouterr() == ("", "")


# --- Scales ---
def test_a_silent_part_has_the_scale_of_its_file(tmp_path):
    """Floats on the scale of 16 bits, of which one second is almost silent."""
    samples = np.concatenate([tone(1.0), 1e-5 * tone(1.0)])
    soundfile.write(tmp_path / "a.wav", samples * 2**15, RATE_HZ, subtype="FLOAT")
    whole, _ = read(tmp_path / "a.wav")
    np.testing.assert_allclose(whole, samples, atol=1e-6)
    part, _ = read(tmp_path / "a.wav", 1.0, 2.0)
    np.testing.assert_array_equal(part, whole[RATE_HZ:])
    pieces = [window for _, window, _ in windows(tmp_path / "a.wav", 1.0, 1.0)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(decode((tmp_path / "a.wav").read_bytes())[0], whole)

# pyright: reportMissingImports=false
"""Voice descriptors by jdann, openSMILE and Praat, for `voice.py`.

All tracks have jdann's names, signs and frames: one every 10 ms.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from voice_descriptors import DESCRIPTORS

from jdann.configuration import base_config
from jdann.features import melspectrogram, mfcc, pitch, power_to_db, rms
from jdann.features.egemaps import EGEMAPS, VOICED, functionals, voice_tracks
from jdann.features.spectral import spectrogram

try:
    import opensmile
except ModuleNotFoundError:
    opensmile = None
try:
    import parselmouth
    import parselmouth.praat
except ModuleNotFoundError:
    parselmouth = None

RATE_HZ, HOP, N_FFT = 16000, 160, 1024  # samples
FMIN_HZ, FMAX_HZ = 65.0, 600.0  # range of pitch, for Praat too
BUCKET = RATE_HZ  # clips are padded to a multiple of so many samples
NO_LEVEL_DB = -200.0  # openSMILE writes -201 where it has no level of a formant
FORMANTS = (1, 2, 3)

# By name: [frames], NaN where there is no value. "voiced" says which frames are voiced.
Tracks = dict[str, np.ndarray]
Functionals = dict[str, float]


# jdann.


@jax.jit
def extract(
    y: jax.Array, n_samples: jax.Array
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """jdann's tracks [frames], voicing [frames], and functionals [EGEMAPS] of y.

    y is [samples], and zero from n_samples on.
    """
    S, _ = spectrogram(y, n_fft=N_FFT, hop_length=HOP)
    track = pitch(S=S, sr=RATE_HZ, n_fft=N_FFT, fmin=FMIN_HZ, fmax=FMAX_HZ)
    tracks = voice_tracks(y=y, S=S, pitch=track, sr=RATE_HZ, hop_length=HOP, n_fft=N_FFT)
    config = base_config().features
    mel = melspectrogram(S=S**2, sr=RATE_HZ, n_fft=N_FFT, n_mels=config.n_mels)
    coefficients = mfcc(S=power_to_db(mel), n_mfcc=config.n_mfcc)
    tracks |= {f"mfcc{i}": coefficients[i] for i in range(1, 5)}
    valid = jnp.arange(S.shape[-1]) < 1 + n_samples // HOP
    power = rms(y=y, frame_length=N_FFT, hop_length=HOP)[0] ** 2
    values = functionals(tracks, power, track.voicing, valid, hop_s=HOP / RATE_HZ)
    return tracks, track.voicing, values


def measure_with_jdann(y: np.ndarray) -> tuple[Tracks, Functionals]:
    """jdann's tracks and functionals of y [samples]."""
    padded = np.zeros(-(-len(y) // BUCKET) * BUCKET, np.float32)
    padded[: len(y)] = y
    tracks, voicing, values = jax.device_get(extract(padded, jnp.int32(len(y))))
    frames = 1 + len(y) // HOP
    tracks = {name: np.asarray(track[:frames], np.float64) for name, track in tracks.items()}
    tracks["voiced"] = voicing[:frames] > 0.5
    return tracks, dict(zip(EGEMAPS, map(float, values), strict=True))


# openSMILE.


def make_smile() -> Callable[[np.ndarray, int], tuple[Tracks, Functionals]]:
    """A function from [samples] and a number of frames to openSMILE's tracks and 88 functionals.

    If openSMILE is not installed, the tracks and functionals are empty.
    """
    if opensmile is None:
        return lambda y, frames: ({}, {})
    level, feature_set = opensmile.FeatureLevel, opensmile.FeatureSet.eGeMAPSv02
    descriptors_of = opensmile.Smile(feature_set, level.LowLevelDescriptors)
    functionals_of = opensmile.Smile(feature_set, level.Functionals)

    def measure(y: np.ndarray, frames: int) -> tuple[Tracks, Functionals]:
        table = descriptors_of.process_signal(y, RATE_HZ)
        columns = {name.rsplit("_", 1)[0]: table[name].to_numpy(np.float64) for name in table}
        values = dict(functionals_of.process_signal(y, RATE_HZ).iloc[0])
        return tracks_of_smile(columns, frames), values

    return measure


def tracks_of_smile(columns: dict[str, np.ndarray], frames: int) -> Tracks:
    """openSMILE's columns at jdann's frames."""
    tracks = {d.ours: d.sign * shift_track(columns[d.smile], d.shift, frames) for d in DESCRIPTORS}
    for name in VOICED:
        has_no_value = (tracks[name] == 0) | (tracks[name] < NO_LEVEL_DB)
        tracks[name] = np.where(has_no_value, np.nan, tracks[name])
    return tracks | {"voiced": np.nan_to_num(tracks["log_f0"]) > 0}


def shift_track(values: np.ndarray, shift: int, frames: int) -> np.ndarray:
    """The values from frame `shift` on, [frames]; NaN elsewhere."""
    track = np.full(frames, np.nan)
    stop = min(frames, shift + len(values))
    track[shift:stop] = values[: stop - shift]
    return track


# Praat.


def measure_with_praat(y: np.ndarray, frames: int) -> Tracks:
    """Praat's tracks at jdann's frames; empty if parselmouth is not installed.

    Settings are Praat's defaults, except the range of pitch and a frame every 10 ms. Praat has no
    command for the levels of harmonics. They are read from a Fourier transform, at multiples of
    Praat's pitch and near Praat's formants. Jitter and shimmer are one value, [1].
    """
    if parselmouth is None:
        return {}
    sound, step_s = parselmouth.Sound(y.astype(np.float64), RATE_HZ), HOP / RATE_HZ
    time = np.arange(frames) * step_s
    pitch_track = sound.to_pitch_ac(time_step=step_s, pitch_floor=FMIN_HZ, pitch_ceiling=FMAX_HZ)
    harmonicity = sound.to_harmonicity_cc(time_step=step_s, minimum_pitch=FMIN_HZ)
    f0_hz = nearest_in_time(time, pitch_track.xs(), pitch_track.selected_array["frequency"])
    hnr = nearest_in_time(time, harmonicity.xs(), harmonicity.values[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        tracks = {
            "log_f0": np.where(f0_hz > 0, 12 * np.log2(f0_hz / 27.5), np.nan),
            "hnr": np.where(hnr > -150, hnr, np.nan),
        }
    formant = sound.to_formant_burg(time_step=step_s)
    for i in FORMANTS:
        tracks[f"f{i}_frequency"] = np.array([formant.get_value_at_time(i, t) for t in time])
        tracks[f"f{i}_bandwidth"] = np.array([formant.get_bandwidth_at_time(i, t) for t in time])
    points = parselmouth.praat.call([sound, pitch_track], "To PointProcess (cc)")
    # The whole file (0, 0); the shortest and the longest period in s; their largest ratio.
    local = (0, 0, 1e-4, 0.02, 1.3)
    jitter = parselmouth.praat.call(points, "Get jitter (local)", *local)
    shimmer = parselmouth.praat.call([sound, points], "Get shimmer (local_dB)", *local, 1.6)
    tracks |= {"jitter": np.array([jitter]), "shimmer": np.array([shimmer])}
    tracks |= harmonic_levels(y, f0_hz, tracks)
    return tracks | {"voiced": np.isfinite(tracks["log_f0"])}


def nearest_in_time(time: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value that is nearest in time; NaN before the first and after the last."""
    step = known[1] - known[0] if len(known) > 1 else 1.0
    index = np.rint((time - known[0]) / step).astype(int)
    inside = (index >= 0) & (index < len(known))
    return np.where(inside, values[np.clip(index, 0, len(known) - 1)], np.nan)


def harmonic_levels(y: np.ndarray, f0_hz: np.ndarray, tracks: Tracks) -> Tracks:
    """Levels relative to the first harmonic, in dB.

    They are those of the second harmonic, and of the strongest harmonic within a fifth of each
    formant.
    """
    padded, window = np.pad(y.astype(np.float64), N_FFT), np.hanning(N_FFT + 1)[:-1]
    names = ("h1_h2", "h1_a3", "f1_level", "f2_level", "f3_level")
    levels = {name: np.full(len(f0_hz), np.nan) for name in names}
    for t in np.flatnonzero(f0_hz > 0):
        begin = t * HOP + N_FFT // 2
        magnitude = np.abs(np.fft.rfft(padded[begin : begin + N_FFT] * window, 8 * N_FFT))
        spectrum_db = 20 * np.log10(magnitude + 1e-9)
        first = level_of_harmonic(spectrum_db, f0_hz[t], 1)
        levels["h1_h2"][t] = first - level_of_harmonic(spectrum_db, f0_hz[t], 2)
        for i in FORMANTS:
            formant_hz = tracks[f"f{i}_frequency"][t]
            near = harmonics_near(formant_hz, f0_hz[t])
            if near:
                strongest = max(level_of_harmonic(spectrum_db, f0_hz[t], k) for k in near)
                levels[f"f{i}_level"][t] = strongest - first
        levels["h1_a3"][t] = -levels["f3_level"][t]
    return levels


def level_of_harmonic(spectrum_db: np.ndarray, f0_hz: float, harmonic: int) -> float:
    """The largest level within .06 of the pitch around a harmonic, in dB."""
    n_fft = 2 * (len(spectrum_db) - 1)
    low, high = ((harmonic + side * 0.06) * f0_hz * n_fft / RATE_HZ for side in (-1, 1))
    return float(spectrum_db[int(low) : int(high) + 1].max())


def harmonics_near(formant_hz: float, f0_hz: float) -> list[int]:
    """The harmonics within a fifth of a formant."""
    highest = int(0.9 * RATE_HZ / 2 / f0_hz)
    return [k for k in range(1, highest) if abs(k * f0_hz - formant_hz) <= 0.2 * formant_hz]

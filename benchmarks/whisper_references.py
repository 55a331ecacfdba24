"""Writes what PyTorch computes for a tiny random Whisper, for tests that run without PyTorch.

    python benchmarks/whisper_references.py
    python benchmarks/whisper_references.py --tiny    # writes nothing; it shows that it works

It needs `torch` and `transformers`. The files stand in tests/pretrained/references. The network has
a window of 1 s and hears two clips, of which the shorter one is followed by silence. Its states are
those of the published network, which attends to the silence, and those of the same blocks without
the silence. The log-mels are the ones that transformers computes in double precision.
"""

import tempfile
from pathlib import Path

import numpy as np
from command_line import make_parser
from machine import is_installed

FOLDER = Path(__file__).parents[1] / "tests" / "pretrained" / "references"
SETTINGS = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "max_source_positions": 50,
}
LENGTHS = (5000, 16000)  # samples; the second one fills the window
RATE_HZ = 16000
MELS = (80, 128)


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    missing = [package for package in ("torch", "transformers") if not is_installed(package)]
    if missing:
        print(f"{', '.join(missing)}: not installed; nothing was written")
        return
    samples = make_samples()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if arguments.tiny else FOLDER
        folder.mkdir(exist_ok=True)
        rounded = np.round(samples * 2**15).astype(np.int16)
        np.savez_compressed(folder / "clips.npz", samples=rounded, length=LENGTHS)
        log_mels = {f"mels_{mels}": log_mels_of(samples, mels) for mels in MELS}
        write_network(folder, log_mels["mels_80"])
        log_mels["mels_128"] = log_mels["mels_128"][:, :40]  # a small file
        np.savez_compressed(folder / "log_mels.npz", **log_mels)
        for file in sorted(folder.iterdir()):
            print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


def make_samples() -> np.ndarray:
    """Two clips [2, 16000] of voiced sound and noise in steps of 16 bits, zero after their end."""
    random = np.random.default_rng(0)
    t = np.arange(RATE_HZ) / RATE_HZ
    clips = []
    for length, pitch_hz in zip(LENGTHS, (120.0, 210.0), strict=True):
        voice = sum(np.sin(2 * np.pi * k * pitch_hz * t) / k for k in range(1, 12))
        clip = 0.1 * voice * (0.6 + 0.4 * np.sin(9 * t)) + random.normal(0, 0.003, len(t))
        clips.append(np.where(np.arange(len(t)) < length, clip, 0))
    return (np.round(np.stack(clips) * 2**15) / 2**15).astype(np.float32)


def log_mels_of(samples: np.ndarray, mels: int) -> np.ndarray:
    """[2, 100, mels] by the way of transformers that needs no PyTorch, in double precision."""
    from transformers import WhisperFeatureExtractor  # pyright: ignore[reportMissingImports]

    extractor = WhisperFeatureExtractor(feature_size=mels, chunk_length=1)
    values = extractor._np_extract_fbank_features(samples, "cpu")
    return np.swapaxes(values, 1, 2).astype(np.float32)


def write_network(folder: Path, log_mels: np.ndarray) -> None:
    """The weights; the states; and the gradients of a weighted sum of the published states."""
    import torch  # pyright: ignore[reportMissingImports]

    network = make_network()
    encoder = network.encoder
    outputs = encoder(torch.tensor(np.swapaxes(log_mels, 1, 2)), output_hidden_states=True)
    states = outputs.hidden_states
    # Of the clip that fills the window: the other one has states in the silence after it, too.
    weights = torch.tensor(loss_weights(states[0][1].shape))
    loss = sum((state[1] * weights).sum() for state in states)
    loss.backward()
    tensors = {name: x.numpy() for name, x in network.state_dict().items()}
    np.savez_compressed(folder / "whisper_weights.npz", **tensors)
    gradients = {
        f"encoder.{name}": x.grad.numpy()
        for name, x in encoder.named_parameters()
        if x.grad is not None
    }
    np.savez_compressed(folder / "whisper_gradients.npz", **gradients)
    arrays = {f"state_{i}": state.detach().numpy() for i, state in enumerate(states)}
    frames = -(-LENGTHS[0] // 320)
    alone = states_without_silence(encoder, states[0][:1, :frames].detach())
    arrays |= {f"alone_{i}": state for i, state in enumerate(alone)}
    np.savez_compressed(folder / "whisper_states.npz", **arrays)


def make_network():
    """A Whisper with random weights, also where PyTorch begins with zeros or ones."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import (  # pyright: ignore[reportMissingImports]
        WhisperConfig,
        WhisperModel,
    )

    torch.manual_seed(0)
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8}
    tokens = {"vocab_size": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = WhisperConfig(
        **SETTINGS, **decoder, **tokens, max_target_positions=4, decoder_start_token_id=1
    )
    network = WhisperModel(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    network.encoder.embed_positions.requires_grad_(True)
    return network


def loss_weights(shape: tuple[int, ...]) -> np.ndarray:
    """Weights that anybody can compute."""
    return np.cos(np.arange(np.prod(shape))).reshape(shape).astype(np.float32)


def states_without_silence(encoder, state) -> list[np.ndarray]:
    """The states [1, frames, width] if the blocks hear the frames of the clip alone."""
    import torch  # pyright: ignore[reportMissingImports]

    states = [state]
    with torch.no_grad():
        for block in encoder.layers:
            states.append(block(states[-1], None))
        states[-1] = encoder.layer_norm(states[-1])
    return [state.numpy() for state in states]


if __name__ == "__main__":
    main()

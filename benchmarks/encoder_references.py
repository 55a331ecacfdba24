"""Writes what PyTorch computes for tiny random speech encoders, for tests that run without PyTorch.

    python benchmarks/encoder_references.py
    python benchmarks/encoder_references.py --tiny    # writes nothing; it shows that it works

It needs `torch` and `transformers`. The files stand in tests/pretrained/references: three clips of
different lengths, and a folder for each network with its settings, its weights, and what it
computes from the clips. Each clip is computed alone, without padding.
"""

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from command_line import make_parser
from machine import is_installed

FOLDER = Path(__file__).parents[1] / "tests" / "pretrained" / "references"
LENGTHS = (1600, 4321, 12000)  # samples at 16 kHz
GRADIENT_CLIP = 1  # whose gradients are written

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 3,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# An odd number of taps, and fewer buckets than the clips have distances.
WAVLM = {"num_conv_pos_embeddings": 7, "num_buckets": 16, "max_bucket_distance": 30}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {  # name: class, settings
    "wav2vec2_base": ("Wav2Vec2", {}),
    "wav2vec2_large": ("Wav2Vec2", LARGE),
    "hubert_base": ("Hubert", {"feat_proj_layer_norm": False}),
    "hubert_large": ("Hubert", LARGE),
    "data2vec_base": ("Data2VecAudio", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}),
    "wavlm_base": ("WavLM", WAVLM),
    "wavlm_large": ("WavLM", WAVLM | LARGE),
}
# The gradient of one weight at the beginning of the network and of one in a block.
GRADIENT_NAMES = (
    "feature_extractor.conv_layers.0.conv.weight",
    "encoder.layers.0.attention.k_proj.weight",
)


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    if not (is_installed("torch") and is_installed("transformers")):
        print("torch or transformers is not installed")
        sys.exit(0 if arguments.tiny else 1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if arguments.tiny else FOLDER
        names = list(NETWORKS)[-1:] if arguments.tiny else NETWORKS
        write_clips(folder)
        for name in names:
            write_references(folder / name, *NETWORKS[name])
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            print(f"{file.relative_to(folder)}: {file.stat().st_size / 1000:.0f} kB")


def make_clips(lengths: Iterable[int]) -> list[np.ndarray]:
    """Noise that grows and fades, with an offset: [samples] float32 each."""
    random = np.random.default_rng(0)
    clips = []
    for length in lengths:
        envelope = 0.1 + np.square(np.sin(np.arange(length) / 700.0))
        clip = (0.2 * envelope * random.standard_normal(length) + 0.05).astype(np.float16)
        clips.append(clip.astype(np.float32))  # float16 takes half the space and loses nothing
    return clips


def write_clips(folder: Path) -> None:
    """Writes the clips as they are, and as the published feature extractor normalises them."""
    clips = make_clips(LENGTHS)
    arrays = {f"clip_{i}": clip.astype(np.float16) for i, clip in enumerate(clips)}
    arrays |= {f"normalised_{i}": normalised(clip) for i, clip in enumerate(clips)}
    np.savez_compressed(folder / "noise.npz", **arrays)


def make_network(family: str, settings: dict[str, Any]):
    """A model of transformers with random weights, also where PyTorch begins with zeros or ones."""
    import torch  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    network = getattr(transformers, f"{family}Model")(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


def states_of(network: Any, clip: Any) -> list[Any]:
    """The hidden states [frames, width] of one clip [samples], PyTorch tensors.

    The last one is what the network returns. Versions of transformers differ in whether the last
    of `hidden_states` has passed the final layer norm, too.
    """
    output = network(clip[None], output_hidden_states=True)
    return [state[0] for state in (*output.hidden_states[:-1], output.last_hidden_state)]


def normalised(clip: np.ndarray) -> np.ndarray:
    """The clip as the published feature extractor gives it to the network."""
    from transformers import Wav2Vec2FeatureExtractor  # pyright: ignore[reportMissingImports]

    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    return extractor(clip, sampling_rate=16000).input_values[0]


def write_references(folder: Path, family: str, settings: dict[str, Any]) -> None:
    """Writes settings, weights, states and gradients of one network."""
    import torch  # pyright: ignore[reportMissingImports]
    from safetensors.torch import save_file

    network = make_network(family, SIZES | settings)
    folder.mkdir(parents=True, exist_ok=True)
    normalises = settings.get("feat_extract_norm") == "layer" or family == "Data2VecAudio"
    written = {"model_type": network.config.model_type, "do_normalize": normalises}
    text = json.dumps(written | SIZES | settings, indent=1)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors")
    clips = make_clips(LENGTHS)
    heard = [normalised(clip) if normalises else clip for clip in clips]
    arrays = {}
    with torch.no_grad():
        for i, clip in enumerate(heard):
            for layer, state in enumerate(states_of(network, torch.tensor(clip))):
                arrays[f"state_{layer}_of_{i}"] = state.numpy()
    arrays |= gradients_of(network, heard[GRADIENT_CLIP])
    np.savez_compressed(folder / "outputs.npz", **arrays)


def gradients_of(network: Any, heard: np.ndarray) -> dict[str, np.ndarray]:
    """Gradients of the mean of all squared states: of the clip [samples] and of two weights."""
    import torch  # pyright: ignore[reportMissingImports]

    clip = torch.tensor(heard, requires_grad=True)
    sum(state.square().mean() for state in states_of(network, clip)).backward()
    assert clip.grad is not None
    gradients = {"gradient_of_heard": clip.grad.numpy()}
    parameters = dict(network.named_parameters())
    return gradients | {f"gradient_of_{n}": parameters[n].grad.numpy() for n in GRADIENT_NAMES}


if __name__ == "__main__":
    main()

"""The encoder smart-turn in jdann, beside the 8-bit network that onnxruntime runs.

    python benchmarks/smart_turn.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/smart_turn.py ravdess.csv --tiny    # two clips; the figures mean nothing

It needs `onnx`, `onnxruntime` and `transformers`, and the wheel of pipecat-ai, which pip fetches.
Clips are taken evenly from each manifest, at most 8 s long. Their log-mels for onnxruntime are
those of transformers, made as pipecat-ai does. Three comparisons, for each hidden state:

- "not rounded": jdann, and onnxruntime after the nodes that round what flows through the network
  were taken out of the graph. Both have the same weights, so this shows whether jdann reads and
  computes the same network.
- "published": jdann, and onnxruntime with the graph as it is published.
- "silence masked": jdann as it is by default, and with `pad_to_window`, as published.

The relative difference is that of all values of a clip's frames, and the cosine that of each frame.
"Centred means" is the cosine of the means over frames, less the mean of all clips: it says what the
difference means for features that are averages. All are means over clips.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from command_line import make_parser
from machine import cpus, is_installed, load_average, python_and_packages
from markdown_table import header, row

from jdann import audio, corpora
from jdann.errors import InputError
from jdann.files import default_data_dir
from jdann.pretrained import smart_turn
from jdann.pretrained.contract import SAMPLE_RATE_HZ

PEERS = ("onnx", "onnxruntime", "transformers")
CLIPS = 52
WINDOW = smart_turn.CONFIG.window_samples
COLUMNS = ("comparison", "state", "relative difference", "cosine", "centred means")

States = list[np.ndarray]  # of a clip: [frames, width] each
Encode = Callable[[np.ndarray], States]  # from the samples of a clip


class Difference(NamedTuple):
    relative: float
    cosine: float
    centred: float


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", nargs="+")
    arguments = parser.parse_args()
    missing = [package for package in PEERS if not is_installed(package)]
    if missing:
        print(f"{', '.join(missing)}: not installed")
        return
    try:
        file = smart_turn.find_or_fetch(default_data_dir())
    except InputError as error:
        print(error)
        return
    clips = read_clips(arguments.manifests, 2 if arguments.tiny else CLIPS)
    print(f"{len(clips)} clips; {cpus()}, load average {load_average():.1f}; ", end="")
    print(python_and_packages(("jax", "flax", "numpy", *PEERS)), end="\n\n")
    print(header(COLUMNS, ("---", *["---:"] * 4)))
    data = smart_turn.read_onnx(file)
    published = encode_all(make_encode(file, pad_to_window=True), clips)
    peers = {
        "not rounded": encode_all(make_encode_by_onnxruntime(data, is_rounded=False), clips),
        "published": encode_all(make_encode_by_onnxruntime(data, is_rounded=True), clips),
        "silence masked": encode_all(make_encode(file, pad_to_window=False), clips),
    }
    for name, states in peers.items():
        for i, (ours, others) in enumerate(zip(published, states, strict=True)):
            difference = compare(ours, others)
            cells = (f"{difference.relative:.1e}", *(f"{x:.4f}" for x in difference[1:]))
            print(row(name if i == 0 else "", str(i), *cells), flush=True)


def read_clips(manifests: Sequence[str], count: int) -> list[np.ndarray]:
    """Samples of clips that are spread evenly over each corpus, mono, at 16 kHz, at most 8 s."""
    clips = []
    each = -(-count // len(manifests))
    for manifest in manifests:
        utterances = corpora.load(manifest, corpora.EMOTIONS).utterances
        for utterance in utterances[:: max(len(utterances) // each, 1)][:each]:
            samples, rate_hz = audio.read(utterance.path, utterance.start_s, utterance.end_s)
            clips.append(audio.mono(samples, rate_hz, SAMPLE_RATE_HZ)[:WINDOW])
    return clips


def encode_all(encode: Encode, clips: Sequence[np.ndarray]) -> list[States]:
    """For each hidden state, that of each clip."""
    return [list(states) for states in zip(*map(encode, clips), strict=True)]


def compare(ours: States, others: States) -> Difference:
    relative = [
        np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(ours, others, strict=True)
    ]
    cosine = [cosines(a, b).mean() for a, b in zip(ours, others, strict=True)]
    means, other_means = (np.stack([x.mean(0) for x in states]) for states in (ours, others))
    centred = cosines(means - means.mean(0), other_means - other_means.mean(0))
    return Difference(float(np.mean(relative)), float(np.mean(cosine)), float(centred.mean()))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row of two matrices."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / np.maximum(norms, 1e-12)


def make_encode(file: Path, pad_to_window: bool) -> Encode:
    encoder = smart_turn.read_encoder(file)
    apply = jax.jit(encoder.architecture.module.clone(pad_to_window=pad_to_window).apply)

    def encode(clip: np.ndarray) -> States:
        padded = np.pad(clip, (0, -len(clip) % SAMPLE_RATE_HZ))  # few lengths to compile
        length = jnp.asarray([len(clip)], jnp.int32)
        result: Any = apply({"params": encoder.params}, jnp.asarray(padded[None]), length)
        return [np.asarray(state)[0, : int(result.length[0])] for state in result.states]

    return encode


def make_encode_by_onnxruntime(data: bytes, is_rounded: bool) -> Encode:
    import onnx  # pyright: ignore[reportMissingImports]
    import onnxruntime  # pyright: ignore[reportMissingImports]
    from transformers import WhisperFeatureExtractor  # pyright: ignore[reportMissingImports]

    model = onnx.load_from_string(data)
    if not is_rounded:
        leave_out_rounding(model.graph)
    names = names_of_states(model.graph)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    extract = WhisperFeatureExtractor(chunk_length=8)

    def encode(clip: np.ndarray) -> States:
        window = np.pad(clip, (WINDOW - len(clip), 0))  # as pipecat-ai: silence first
        mel = extract(
            window, sampling_rate=SAMPLE_RATE_HZ, do_normalize=True, return_tensors="np"
        ).input_features
        frames = -(-len(clip) // 320)
        return [x[0, -frames:] for x in session.run(names, {"input_features": mel})]

    return encode


def leave_out_rounding(graph: Any) -> None:
    """Connects each reader of a rounded value with the value itself. Weights stay rounded."""
    unrounded = {node.output[0]: node.input[0] for node in graph.node if is_rounding(node)}
    values = {
        node.output[0]: unrounded[node.input[0]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in unrounded
    }
    for node in graph.node:
        for i, name in enumerate(node.input):
            while name in values:
                name = values[name]
            node.input[i] = name


def is_rounding(node: Any) -> bool:
    return node.op_type == "QuantizeLinear"


def names_of_states(graph: Any) -> list[str]:
    """What each block reads, and what leaves the final layer norm."""
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    names = [node.input[0] for node in norms if "self_attn_layer_norm" in node.input[1]]
    return names + [x.output[0] for x in norms if x.input[1].endswith("encoder.layer_norm.weight")]


if __name__ == "__main__":
    main()

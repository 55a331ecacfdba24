"""Reads the published settings of wav2vec 2.0 and its relatives, and names their tensors.

The keys, their defaults and the names of the tensors are those of transformers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flax import linen as nn

from jdann.errors import InputError
from jdann.parameters import shown
from jdann.pretrained.contract import Architecture, Rule
from jdann.pretrained.transformer import SelfAttention, describe_blocks
from jdann.pretrained.wav2vec2_layers import Config, Convolution, Positions

CONVOLUTIONS = {  # transformers' defaults
    "conv_dim": (512, 512, 512, 512, 512, 512, 512),
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
}

KNOWN = {  # setting: the values that the network can have; the first is the default
    "feat_extract_norm": ("group", "layer"),
    "hidden_act": ("gelu",),
    "feat_extract_activation": ("gelu",),
    "add_adapter": (False,),
    "adapter_attn_dim": (None,),
    "conv_pos_batch_norm": (False,),
    "conv_bias": (False, True),
    "do_stable_layer_norm": (False, True),
    "feat_proj_layer_norm": (True, False),
}

# A file of a network with a head begins each name with the name of the family.
PREFIX = r"(?:wav2vec2\.|hubert\.|wavlm\.|data2vec_audio\.)?"
CONVOLUTION_AXES = (2, 1, 0)  # [out, in, taps] becomes [taps, in, out]
LINEAR_AXES = (1, 0)  # [out, in] becomes [in, out]


def rule(pattern: str, path: str, axes: tuple[int, ...] | None = None) -> Rule:
    """Returns the rule for names that may begin with the name of the family."""
    return Rule(PREFIX + pattern, path, axes)


def linear_rules(pattern: str, path: str) -> tuple[Rule, Rule]:
    """Returns the rules for the weight and the bias of a linear layer."""
    return (
        rule(rf"{pattern}\.weight", f"{path}/kernel", LINEAR_AXES),
        rule(rf"{pattern}\.bias", f"{path}/bias"),
    )


def norm_rules(pattern: str, path: str) -> tuple[Rule, Rule]:
    """Returns the rules for the weight and the bias of a norm."""
    return (
        rule(rf"{pattern}\.weight", f"{path}/scale"),
        rule(rf"{pattern}\.bias", f"{path}/bias"),
    )


EXTRACTOR = r"feature_extractor\.conv_layers\.(\d+)"
EXTRACTOR_PATH = r"frames/features/layer_\1"
POSITIONS = r"encoder\.pos_conv_embed\.conv"
MAGNITUDE_PATH = "frames/positions/layer_0/magnitude"
DIRECTION_PATH = "frames/positions/layer_0/direction"
DATA2VEC_POSITIONS = r"encoder\.pos_conv_embed\.layers\.(\d+)\.conv"
DATA2VEC_POSITIONS_PATH = r"frames/positions/layer_\1"
BLOCK, BLOCK_PATH = r"encoder\.layers\.(\d+)", r"transformer/block_\1"

RULES = (
    rule(rf"{EXTRACTOR}\.conv\.weight", f"{EXTRACTOR_PATH}/kernel", CONVOLUTION_AXES),
    rule(rf"{EXTRACTOR}\.conv\.bias", f"{EXTRACTOR_PATH}/bias"),
    *norm_rules(rf"{EXTRACTOR}\.layer_norm", f"{EXTRACTOR_PATH}/norm"),
    *norm_rules(r"feature_projection\.layer_norm", "frames/projection_norm"),
    *linear_rules(r"feature_projection\.projection", "frames/projection"),
    # PyTorch before 2.0 gave the two tensors of weight norm other names.
    rule(rf"{POSITIONS}\.weight_g", MAGNITUDE_PATH, CONVOLUTION_AXES),
    rule(rf"{POSITIONS}\.parametrizations\.weight\.original0", MAGNITUDE_PATH, CONVOLUTION_AXES),
    rule(rf"{POSITIONS}\.weight_v", DIRECTION_PATH, CONVOLUTION_AXES),
    rule(rf"{POSITIONS}\.parametrizations\.weight\.original1", DIRECTION_PATH, CONVOLUTION_AXES),
    rule(rf"{POSITIONS}\.bias", "frames/positions/layer_0/bias"),
    rule(rf"{DATA2VEC_POSITIONS}\.weight", f"{DATA2VEC_POSITIONS_PATH}/kernel", CONVOLUTION_AXES),
    rule(rf"{DATA2VEC_POSITIONS}\.bias", f"{DATA2VEC_POSITIONS_PATH}/bias"),
    *norm_rules(r"encoder\.layer_norm", "transformer/norm"),
    *linear_rules(rf"{BLOCK}\.attention\.q_proj", f"{BLOCK_PATH}/attention/query"),
    *linear_rules(rf"{BLOCK}\.attention\.k_proj", f"{BLOCK_PATH}/attention/key"),
    *linear_rules(rf"{BLOCK}\.attention\.v_proj", f"{BLOCK_PATH}/attention/value"),
    *linear_rules(rf"{BLOCK}\.attention\.out_proj", f"{BLOCK_PATH}/attention/out"),
    *norm_rules(rf"{BLOCK}\.layer_norm", f"{BLOCK_PATH}/attention_norm"),
    *linear_rules(
        rf"{BLOCK}\.feed_forward\.intermediate_dense", f"{BLOCK_PATH}/feed_forward/hidden"
    ),
    *linear_rules(rf"{BLOCK}\.feed_forward\.output_dense", f"{BLOCK_PATH}/feed_forward/out"),
    *norm_rules(rf"{BLOCK}\.final_layer_norm", f"{BLOCK_PATH}/feed_forward_norm"),
)

# What a file may hold beside the encoder: parts of the pre-training, and heads for tasks.
IGNORED = (
    PREFIX + r"masked_spec_embed",
    r"quantizer\..*",
    r"project_q\..*",
    r"project_hid\..*",
    r"final_proj\..*",
    r"lm_head\..*",
    r"projector\..*",
    r"classifier\..*",
    r"layer_weights",
    r"feature_extractor\.(?:weight|bias)",  # of a head for speakers
    r"tdnn\..*",
    r"objective\..*",
)


def describe(
    family: str,
    module: nn.Module,
    config: Config,
    rules: tuple[Rule, ...],
    ignored: tuple[str, ...],
    attention: type[nn.Module] = SelfAttention,
) -> Architecture:
    """Returns the architecture of a module whose blocks have this attention."""
    return Architecture(
        family=family,
        module=module,
        rules=rules,
        ignored=ignored,
        layers=config.blocks + 1,
        width=config.width,
        samples_per_frame=math.prod(layer.stride for layer in config.convolutions),
        blocks=describe_blocks(
            "transformer", config.heads, config.hidden, config.epsilon, config.norm_first, attention
        ),
    )


def read_config(settings: Mapping[str, Any], families: Sequence[str]) -> Config:
    """Reads the settings of a network.

    Args:
      settings: keys and values of a published `config.json`.
      families: the values of "model_type" that are accepted.

    Raises:
      InputError: names a setting that has an unknown or an impossible value.
    """
    family = known(settings, "model_type", families)
    is_data2vec = family == "data2vec-audio"
    variants = {key: known(settings, key, choices) for key, choices in KNOWN.items()}
    # transformers reads neither setting for data2vec.
    group_norm = not is_data2vec and variants["feat_extract_norm"] == "group"
    width = whole_number(settings, "hidden_size", 768)
    heads = whole_number(settings, "num_attention_heads", 12)
    check_divides("num_attention_heads", heads, width)
    return Config(
        convolutions=read_convolutions(settings),
        convolution_bias=variants["conv_bias"],
        group_norm=group_norm,
        projection_norm=variants["feat_proj_layer_norm"] or family != "hubert",
        positions=read_positions(settings, width, is_data2vec),
        width=width,
        blocks=whole_number(settings, "num_hidden_layers", 12),
        heads=heads,
        hidden=whole_number(settings, "intermediate_size", 3072),
        epsilon=positive_number(settings, "layer_norm_eps", 1e-5),
        norm_first=not is_data2vec and variants["do_stable_layer_norm"],
        normalise_samples=known(
            {"do_normalize": settings.get("do_normalize", not group_norm)},
            "do_normalize",
            (False, True),
        ),
    )


def read_convolutions(settings: Mapping[str, Any]) -> tuple[Convolution, ...]:
    """Reads the layers of the feature extractor."""
    columns = {key: settings.get(key, default) for key, default in CONVOLUTIONS.items()}
    for key, values in columns.items():
        if not isinstance(values, list | tuple) or not values or not all(map(is_count, values)):
            raise unknown_value(key, values, "a list of whole numbers from 1")
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{key} {len(values)}" for key, values in columns.items())
        raise InputError(
            f"config.json: the lists of the convolutions have different lengths ({lengths}); give "
            "each convolution one value in each list"
        )
    return tuple(Convolution(*sizes) for sizes in zip(*columns.values(), strict=True))


def read_positions(settings: Mapping[str, Any], width: int, is_data2vec: bool) -> Positions:
    """Reads the positional convolutions. "num_conv_pos_embeddings" means layers in data2vec."""
    groups = whole_number(settings, "num_conv_pos_embedding_groups", 16)
    check_divides("num_conv_pos_embedding_groups", groups, width)
    if is_data2vec:
        layers = whole_number(settings, "num_conv_pos_embeddings", 5)
        taps = whole_number(settings, "conv_pos_kernel_size", 19)
        return Positions(layers, taps, groups, is_data2vec=True)
    taps = whole_number(settings, "num_conv_pos_embeddings", 128)
    return Positions(1, taps, groups, is_data2vec=False)


def known(settings: Mapping[str, Any], key: str, choices: Sequence[Any]) -> Any:
    """Returns a setting, or the first of the choices if it is missing."""
    value = settings.get(key, choices[0])
    # A list makes no difference between 0 and False, which JSON does.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise unknown_value(key, value, " or ".join(shown(choice) for choice in choices))
    return value


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 1."""
    return type(value) is int and value > 0


def whole_number(settings: Mapping[str, Any], key: str, default: int) -> int:
    """Returns a setting that is a whole number from 1."""
    value = settings.get(key, default)
    if not is_count(value):
        raise unknown_value(key, value, "a whole number from 1")
    return value


def positive_number(settings: Mapping[str, Any], key: str, default: float) -> float:
    """Returns a setting that is a finite number greater than 0."""
    value = settings.get(key, default)
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise unknown_value(key, value, "a number greater than 0")
    return float(value)


def check_divides(key: str, part: int, width: int) -> None:
    """Raises InputError if a setting does not divide the width."""
    if width % part:
        raise InputError(
            f"config.json: {key} is {part}, which does not divide hidden_size {width}; give a "
            "divisor"
        )


def unknown_value(key: str, value: Any, expected: str) -> InputError:
    """Returns the error for a setting that an encoder cannot use."""
    return InputError(
        f"config.json: {key} is {shown(value)}, but this encoder needs {expected}; choose another "
        "model"
    )

"""What a training is made of: its settings, its fixed parts, and the state that a step changes."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jdann.methods.contract import Method
from jdann.training.optimisation import OptimiserSettings

Metrics = dict[str, jax.Array]  # scalars of a step, by name


class MaskSettings(NamedTuple):
    """SpecAugment's masks; see `jdann.features.augment.spec_augment`."""

    time_masks: int = 2
    time_mask_frames: int = 12
    frequency_masks: int = 2
    frequency_mask_bins: int = 8


class TrainingSettings(NamedTuple):
    """How to train, whatever the method; the defaults are those of configs/base.py."""

    label_smoothing: float = 0.1  # probability shared by all classes, 0 to 1
    ema: float = 0.99  # decay per step of the moving average that is evaluated; 0: no average
    crop_frames: int = 192  # longer utterances are trained on in parts of this length; 0: whole
    masks: MaskSettings = MaskSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    learning_rate_schedule: str = "warmup_cosine"  # a key of LEARNING_RATES
    warmup_fraction: float = 0.05  # of the steps of a phase
    strength_schedule: str = "ganin"  # a key of STRENGTHS
    strength_gamma: float = 10.0  # steepness of the ganin schedule


class Program(NamedTuple):
    """What is fixed when a training is compiled."""

    encoder: nn.Module
    method: Method
    settings: TrainingSettings
    classes: int  # emotions
    speakers: int  # of the source
    bins: int  # columns of the features
    window: int | None  # frames that every batch is padded to; None: vectors [batch, values]
    phase_steps: tuple[int, ...]  # steps of each of the method's phases


class Hyper(NamedTuple):
    """What a sweep varies without compiling again: traced scalars, or one entry per member."""

    learning_rate: jax.Array
    weight_decay: jax.Array
    strength: jax.Array  # the largest lambda


class State(NamedTuple):
    """All that training changes.

    Random keys are derived from the seed and `step`, so that a checkpoint needs nothing else.
    """

    params: Any  # {"encoder", "classifier", "method"}
    batch_stats: Any  # {"source", "target"}
    average: Any  # {"encoder", "classifier", "batch_stats"}: the moving average, which is evaluated
    opt_state: Any  # of each group of parameters
    memory: Any  # the method's own, constant within a phase
    step: jax.Array  # int32, steps done


class Outputs(NamedTuple):
    """What a trained model says about utterances."""

    logits: jax.Array  # [utterances, classes]
    representation: jax.Array  # [utterances, d]

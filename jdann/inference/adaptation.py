"""Adapts a model to new speakers, from their clips and without labels."""

from collections.abc import Iterable, Sequence

import numpy as np

from jdann.data import normalise
from jdann.inference.batches import ClipFeatures
from jdann.inference.model import Adaptation, Reference
from jdann.inference.program import Programs

RELEVANCE = 5.0  # clips


def adapt_to_speakers(
    programs: Programs,
    adaptation: Adaptation,
    reference: Reference | None,
    speakers: Sequence[Sequence[ClipFeatures]],
    relevance: float,
) -> list[Adaptation]:
    """Adapts to each of several speakers.

    Each speaker is normalised alone. With a reference, co-training then learns from the clips of
    all speakers together.

    Args:
      programs: of the model.
      adaptation: of the model, to its target.
      reference: of the model; None: only the normalisation adapts.
      speakers: the clips of each speaker, one or more.
      relevance: as for `adapt_normalisation`.
    """
    adapted = [
        adapt_normalisation(adaptation, (clip.valid for clip in clips), len(clips), relevance)
        for clips in speakers
    ]
    if reference is None:
        return adapted
    # These import Flax, which takes long.
    from jdann.inference.new_speakers import co_train
    from jdann.methods.one_speaker import share_of_views

    features = [
        programs.normalise(tuple(speaker), *clip)
        for speaker, clips in zip(adapted, speakers, strict=True)
        for clip in clips
    ]
    views = co_train(reference, np.concatenate(features))
    share = np.array([share_of_views(len(features))], np.float32)
    return [speaker._replace(**views._asdict(), share=share) for speaker in adapted]


def adapt_normalisation(
    adaptation: Adaptation, features: Iterable[np.ndarray], clips: int, relevance: float
) -> Adaptation:
    """The maximum a posteriori estimate of a speaker's mean and standard deviation.

    The statistics of n clips weigh n / (n + relevance) and the target's statistics weigh the rest,
    because few clips of one emotion tell more about the emotion than about the speaker (Reynolds et
    al. 2000, "Speaker verification using adapted Gaussian mixture models", equation 14).

    Args:
      adaptation: of the target.
      features: of each of the speaker's clips, [frames, values], not normalised.
      clips: how many there are, 1 or more.
      relevance: clips, 0 or more; 0: the speaker's own statistics only.
    """
    moments = normalise.moments(features, ["speaker"] * clips)
    mean, std, voice = adaptation[:3]
    prior = normalise.Moments(mean.astype(np.float64), std.astype(np.float64) ** 2)
    blended = normalise.map_estimate(moments, prior, clips / (clips + relevance))
    fitted = normalise.statistics(blended, ())
    return Adaptation(fitted.mean, fitted.std, voice)

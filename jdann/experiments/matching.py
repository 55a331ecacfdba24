"""Makes two domains alike before they are normalised: the same channel, and groups of voices."""

from pathlib import Path
from typing import Any

from jdann.data.pairs import Domain, FeatureSettings
from jdann.experiments.channels import match_channel
from jdann.experiments.settings import features_folder
from jdann.experiments.voices import group_unknown_voices


def match_domains(
    source: Domain, target: Domain, settings: FeatureSettings, config: Any, data_dir: Path
) -> tuple[Domain, Domain]:
    """Sends the source through the channel of the target, and groups voices of unknown speakers.

    No label of the target is used.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      settings: how features are computed.
      config: of the run; it says whether each of the two is done.
      data_dir: where features, the speaker encoder and its vectors are kept.

    Returns:
      Source and target; each is unchanged if nothing had to be done.
    """
    channel = config.features.channel
    source = match_channel(source, target, settings, features_folder(data_dir), channel)
    return group_unknown_voices(source, target, config, data_dir)

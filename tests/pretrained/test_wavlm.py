"""WavLM has the numbers of transformers."""

import jax.numpy as jnp
import pytest

from jdann.errors import InputError
from jdann.pretrained.wavlm import Distances, architecture, bucket_of
from tests.support.encoders import check_gradients, check_states, load_reference
from tests.support.full_encoders import LARGE, compare_with_transformers


@pytest.mark.parametrize("name", ["wavlm_base", "wavlm_large"])
def test_states_of_a_padded_batch_are_those_of_transformers(name):
    check_states(load_reference(name))


@pytest.mark.slow
def test_gradients_of_a_padded_clip_are_those_of_pytorch():
    check_gradients(load_reference("wavlm_large"))


def test_near_distances_have_a_bucket_each_and_far_ones_share_the_last():
    offsets = jnp.asarray([0, -1, -79, 1, 79, -799, -5000, 5000])
    expected = [0, 1, 79, 161, 239, 159, 159, 319]
    assert bucket_of(offsets, Distances(320, 800)).tolist() == expected


def test_a_setting_that_the_network_does_not_know_is_named():
    with pytest.raises(InputError, match="num_buckets is 0"):
        architecture({"model_type": "wavlm", "num_buckets": 0})
    with pytest.raises(InputError, match="model_type is 'hubert'"):
        architecture({"model_type": "hubert"})


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, LARGE])
def test_full_networks_have_the_states_of_transformers(settings):
    compare_with_transformers("WavLM", settings)

"""The digest of an encoder, on which the features in the cache depend."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

# Keys of config.json that say where the file came from, not what the network computes.
_ORIGIN_KEYS = ("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")


def digest(params: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """A digest of weights and settings. Where their files lie and how they are split is no matter.

    It is taken of the weights as the network gets them. So a version of jdann that reads a file in
    another way does not use the features of an earlier one.

    Args:
      params: nested arrays.
      settings: of the network, as in config.json; where the file came from does not count.
    """
    computed = {key: value for key, value in settings.items() if key not in _ORIGIN_KEYS}
    total = hashlib.blake2b(json.dumps(computed, sort_keys=True).encode(), digest_size=16)
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    for keys, array in sorted((jax.tree_util.keystr(keys), array) for keys, array in leaves):
        total.update(f"{keys} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()

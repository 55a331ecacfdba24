"""What the campaigns share."""

import os
import random
import secrets
import signal

import numpy as np
import pytest

# A shell that starts the tests in the background lets them, and what they start, ignore SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def campaign_seed() -> int:
    """JDANN_CAMPAIGN_SEED, or another one each time; it is printed, so that it can be repeated."""
    seed = int(os.environ.get("JDANN_CAMPAIGN_SEED") or secrets.randbelow(2**32))
    print(f"seed {seed}")
    return seed


@pytest.fixture(scope="module")
def chance(campaign_seed) -> random.Random:
    """The random choices of a campaign."""
    return random.Random(campaign_seed)


@pytest.fixture(scope="module")
def rng(campaign_seed) -> np.random.Generator:
    """The same for arrays."""
    return np.random.default_rng(campaign_seed)

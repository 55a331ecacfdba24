"""What the campaigns share."""

import os
import random
import secrets
import signal

import pytest

# A shell that starts the tests in the background lets them, and what they start, ignore SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def chance() -> random.Random:
    """Random choices; JDANN_CAMPAIGN_SEED repeats those of a seed that was printed."""
    seed = int(os.environ.get("JDANN_CAMPAIGN_SEED") or secrets.randbelow(2**32))
    print(f"seed {seed}")
    return random.Random(seed)

"""Features of audio signals in JAX: the primitives of librosa, and recipes that combine them."""

from jdann.features.augment import spec_augment
from jdann.features.pitch import Pitch, pitch
from jdann.features.recipe import RECIPES, make_recipe
from jdann.features.recipe_contract import Recipe
from jdann.features.spectral import melspectrogram, mfcc, power_to_db, spectral_contrast, stft
from jdann.features.temporal import delta, rms, zero_crossing_rate

__all__ = [
    "RECIPES",
    "Pitch",
    "Recipe",
    "delta",
    "make_recipe",
    "melspectrogram",
    "mfcc",
    "pitch",
    "power_to_db",
    "rms",
    "spec_augment",
    "spectral_contrast",
    "stft",
    "zero_crossing_rate",
]

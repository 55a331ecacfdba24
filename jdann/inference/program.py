"""The programs of one model: each is compiled once for each shape.

What is traced and compiled is kept between processes: `jdann.program_cache`.
"""

import json
import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from jdann.pretrained import PRETRAINED_RECIPES
from jdann.program_cache import compile_program

if TYPE_CHECKING:  # it imports Flax and librosa, which a kept program does not need
    from jdann.inference.forward import Inference

BATCH = 16  # clips in one call where there are many


class Settings(NamedTuple):
    """The parts of a config that decide what the programs compute."""

    sample_rate_hz: int  # of prepared audio
    features: FrozenConfigDict  # `config.features`
    encoder: ConfigDict  # `config.encoder`; its `name` is that of a single encoder


class Programs:
    """The functions of one model, each compiled once for each shape, whichever thread comes first.

    They can be pickled: parameters and settings are written, and compiled programs are made again.

    Args:
      settings: what they compute.
      variables: {"encoder", "classifier"}, each array [members, ...].
    """

    def __init__(self, settings: Settings, variables: dict[str, Any]):
        self.settings = settings
        self.variables = jax.device_put(variables)
        # A CPU gains little from batches, and each batch size is one more shape to compile.
        self.batch = 1 if jax.default_backend() == "cpu" else BATCH
        self._lock = threading.Lock()
        self._compiled: dict[tuple[str, tuple[int, ...]], Callable[..., Any]] = {}

    def __reduce__(self) -> tuple[type["Programs"], tuple[Settings, dict[str, Any]]]:
        """Settings and parameters; neither a lock nor a compiled program can be pickled."""
        return Programs, (self.settings, jax.device_get(self.variables))

    @property
    def members(self) -> int:
        """How many members the ensemble has."""
        return self.variables["classifier"]["kernel"].shape[0]

    @property
    def width(self) -> int:
        """How many values a representation has."""
        return self.variables["classifier"]["kernel"].shape[1]

    @cached_property
    def inference(self) -> "Inference":
        """The pure functions, neither jitted nor traced.

        Raises:
          InputError: the parameters are not those of the encoder in the settings.
        """
        # Flax and librosa stay unloaded until a program is traced.
        from jdann.inference.forward import check_variables, make_inference

        check_variables(self.variables, **self.settings._asdict())
        return make_inference(**self.settings._asdict())

    @cached_property
    def _weights(self) -> Any:
        """Of the pretrained encoder of the features, on the device; () if they have none.

        Raises:
          InputError: the encoder is not on this machine, or it has other weights.
        """
        if self.settings.features.recipe not in PRETRAINED_RECIPES:
            return ()  # the recipe, which takes long to import, is not needed for this
        return jax.device_put(self.inference.weights)

    def outputs(
        self, adaptation: tuple[np.ndarray, ...], samples: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits [members, batch, classes] and representation [members, batch, d]."""
        return self._outputs("outputs", adaptation, self._weights, samples, length)

    def classify(
        self, adaptation: tuple[np.ndarray, ...], values: np.ndarray, frames: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `outputs`, of what `features` has returned."""
        return self._outputs("classify", adaptation, self._weights, values, frames)

    def normalise(
        self, adaptation: tuple[np.ndarray, ...], values: np.ndarray, frames: np.ndarray
    ) -> np.ndarray:
        """What `features` has returned, normalised."""
        normalised = self._call("normalise", values.shape, adaptation[:3], values, frames)
        return np.asarray(normalised)

    def _outputs(
        self, name: str, adaptation: tuple[np.ndarray, ...], *inputs: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits and representation by the program of that name."""
        shapes = (*inputs[-2].shape, *adaptation[3].shape)  # of the input and of the views
        logits, representation = self._call(name, shapes, self.variables, adaptation, *inputs)
        return np.asarray(logits), np.asarray(representation)

    def features(self, samples: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [batch, frames, bins] or [batch, values], not normalised; frames [batch]."""
        values, frames = self._call("features", samples.shape, self._weights, samples, length)
        return np.asarray(values), np.asarray(frames)

    def _call(self, name: str, shape: tuple[int, ...], *arguments: Any) -> Any:
        compiled = self._compiled.get((name, shape))
        if compiled is None:
            with self._lock:
                compiled = self._compiled.get((name, shape)) or self._compile(name, arguments)
                self._compiled[name, shape] = compiled
        return compiled(*arguments)

    def _compile(self, name: str, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        def function(*arguments: Any) -> Any:
            result = getattr(self.inference, name)(*arguments)
            # `jax.export` knows tuples, but not `Outputs`.
            return tuple(result) if isinstance(result, tuple) else result

        depends_on = (
            str(self.settings.sample_rate_hz),
            json.dumps(self.settings.features.to_dict(), sort_keys=True),
            json.dumps(self.settings.encoder.to_dict(), sort_keys=True),
        )
        return compile_program(name, function, arguments, depends_on)

"""The programs of one model: each is traced once on a machine, and compiled once for each shape.

Tracing a recipe takes a hundred times as long as running it. So traced programs are kept as
StableHLO (`jax.export`) in the folder where JAX keeps compiled programs, which its option
`jax_compilation_cache_dir` names. The file name holds a digest of everything that the program
depends on. A damaged file is replaced. Where no file can be written, each process traces again.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax import export
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict, FrozenConfigDict

from jdann.files import write_bytes

if TYPE_CHECKING:  # it imports Flax and librosa, which a kept program does not need
    from jdann.inference.forward import Inference

BATCH = 16  # clips in one call where there are many
LEAST_COMPILE_S = 0.2  # JAX keeps programs that take longer to compile than this
_PACKAGES = ("jax", "jaxlib", "flax", "librosa", "numpy", "scipy")
_DIGEST_SIZE = 16  # bytes


class Settings(NamedTuple):
    """The parts of a config that decide what the programs compute."""

    sample_rate_hz: int  # of prepared audio
    features: FrozenConfigDict  # `config.features`
    encoder: ConfigDict  # `config.encoder`; its `name` is that of a single encoder


def default_cache_dir() -> Path:
    """Where jdann keeps compiled programs if the user chose no folder.

    Raises:
      RuntimeError: this user has no home folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jdann" / "xla"


def keep_programs() -> None:
    """Makes JAX keep compiled programs in `default_cache_dir`, unless the user has chosen.

    The environment variables JAX_COMPILATION_CACHE_DIR (an empty one too) and
    JAX_ENABLE_COMPILATION_CACHE are choices, and so are these options in `jax.config`. Nothing
    happens where the folder cannot be written.
    """
    enabled = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    if _cache_dir() or not enabled or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = default_cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_COMPILE_S)
    # JAX reads the folder at its first compilation only, and that may have been before.
    compilation_cache.reset_cache()


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

    def outputs(
        self, adaptation: tuple[np.ndarray, ...], samples: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits [members, batch, classes] and representation [members, batch, d]."""
        return self._outputs("outputs", adaptation, samples, length)

    def classify(
        self, adaptation: tuple[np.ndarray, ...], values: np.ndarray, frames: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `outputs`, of what `features` has returned."""
        return self._outputs("classify", adaptation, values, frames)

    def normalise(
        self, adaptation: tuple[np.ndarray, ...], values: np.ndarray, frames: np.ndarray
    ) -> np.ndarray:
        """What `features` has returned, normalised."""
        normalised = self._call("normalise", values.shape, adaptation[:3], values, frames)
        return np.asarray(normalised)

    def _outputs(
        self, name: str, adaptation: tuple[np.ndarray, ...], values: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits and representation by the program of that name."""
        shapes = (*values.shape, *adaptation[3].shape)  # of the input and of the views
        logits, representation = self._call(
            name, shapes, self.variables, adaptation, values, length
        )
        return np.asarray(logits), np.asarray(representation)

    def features(self, samples: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [batch, frames, bins] or [batch, values], not normalised; frames [batch]."""
        values, frames = self._call("features", samples.shape, samples, length)
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

        folder = _folder()
        if folder is None:
            return jax.jit(function).lower(*arguments).compile()
        path = folder / f"{name}-{self._digest(name, arguments)}.stablehlo"
        program = _read(path)
        if program is None:
            program = export.export(jax.jit(function))(*arguments)
            _write(path, bytes(program.serialize()))
        return jax.jit(program.call).lower(*arguments).compile()

    def _digest(self, name: str, arguments: tuple[Any, ...]) -> str:
        leaves, structure = jax.tree.flatten(arguments)
        depends_on = (
            name,
            str(self.settings.sample_rate_hz),
            json.dumps(self.settings.features.to_dict(), sort_keys=True),
            json.dumps(self.settings.encoder.to_dict(), sort_keys=True),
            str(structure),
            *(f"{leaf.dtype}{leaf.shape}" for leaf in leaves),
            jax.default_backend(),
            str(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
            str(jax.config.jax_default_matmul_precision),  # pyright: ignore
            _source(),
            *map(version, _PACKAGES),
        )
        return hashlib.blake2b("\n".join(depends_on).encode(), digest_size=_DIGEST_SIZE).hexdigest()


def _cache_dir() -> str | None:
    """Where JAX keeps compiled programs; None or empty: nowhere."""
    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]


def _folder() -> Path | None:
    """Where traced programs are kept; None: nowhere."""
    folder = _cache_dir()
    return None if not folder or "://" in folder else Path(folder) / "traced"


@cache
def _source() -> str:
    """A digest of the whole package's source, so that a changed source makes new programs."""
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> export.Exported | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, program = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    if hashlib.blake2b(program, digest_size=_DIGEST_SIZE).digest() != digest:
        return None
    return export.deserialize(bytearray(program))


def _write(path: Path, program: bytes) -> None:
    digest = hashlib.blake2b(program, digest_size=_DIGEST_SIZE).digest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, digest + program)
    except OSError:  # on a full or read-only disk the next process traces again, in two seconds
        return

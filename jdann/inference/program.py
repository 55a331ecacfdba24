"""The programs of one model: each is traced once on a machine, and compiled once for each shape.

Tracing a recipe takes longer than running it a hundred times. So where JAX keeps compiled programs (its option
`jax_compilation_cache_dir`, which the command line sets), traced ones are kept beside them, as StableHLO by `jax.export`.
A kept program is found by a digest of all that it depends on, and executes nothing but itself; what is damaged, or cannot
be written, is traced anew without a word.
"""

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import export

if TYPE_CHECKING:  # it imports Flax and librosa, which a kept program does without
    from jdann.inference.forward import Inference

BATCH = 16
_PACKAGES = ("jax", "jaxlib", "flax", "librosa", "numpy", "scipy")
_DIGEST_SIZE = 16  # bytes


class Programs:
    """The functions of one model, each compiled once for each shape, whichever thread comes first.

    Args:
      config: a whole jdann config; read are audio, features and encoder.
      encoder_name: one of those in `config.encoder.name`.
      variables: {"encoder", "classifier"}, each array [members, ...].
    """

    def __init__(self, config: Any, encoder_name: str, variables: Any):
        self._config, self._encoder_name = config, encoder_name
        self.variables = jax.device_put(variables)
        # A CPU gains little by batches, and each is a shape more to compile.
        self.batch = (
            1 if jax.default_backend() == "cpu" else BATCH
        )  # clips in one call where there are many
        self._lock = threading.Lock()
        self._compiled: dict[tuple[str, tuple[int, ...]], Callable[..., Any]] = {}

    @cached_property
    def inference(self) -> "Inference":
        """The pure functions, neither jitted nor traced."""
        from jdann.inference.forward import make_inference

        return make_inference(self._config, self._encoder_name)

    def outputs(
        self, normaliser: tuple[np.ndarray, ...], samples: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits [members, batch, classes] and representation [members, batch, d]."""
        logits, representation = self._call(
            "outputs", samples.shape, self.variables, normaliser, samples, length
        )
        return np.asarray(logits), np.asarray(representation)

    def features(self, samples: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [batch, frames, bins], not normalised, and frames [batch]."""
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
        def function(*arguments: Any) -> tuple[jax.Array, ...]:
            return tuple(getattr(self.inference, name)(*arguments))

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
            *(
                json.dumps(self._config[key].to_dict(), sort_keys=True)
                for key in ("audio", "features", "encoder")
            ),
            self._encoder_name,
            str(structure),
            *(f"{leaf.dtype}{leaf.shape}" for leaf in leaves),
            jax.default_backend(),
            str((jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision)),  # pyright: ignore
            _source(),
            *map(version, _PACKAGES),
        )
        return hashlib.blake2b("\n".join(depends_on).encode(), digest_size=_DIGEST_SIZE).hexdigest()


def _folder() -> Path | None:
    """Where traced programs are kept; None: nowhere."""
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    return None if not folder or "://" in folder else Path(folder) / "traced"


@cache
def _source() -> str:
    """A digest of this package's source, so that no program outlives a change of it."""
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.blake2b(program, digest_size=_DIGEST_SIZE).digest() + program)
        os.replace(file.name, path)  # noqa: PTH105
    except OSError:  # a full or read-only disk costs a later start its two seconds, no more
        return

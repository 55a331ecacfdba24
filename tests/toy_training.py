"""Three clusters in the plane, turned and shifted in the target, and a small trainer that follows the method contract."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jdann.methods.contract import Context, Dims, Method, Source, Target

CLASSES, WIDTH = 3, 8
BATCH, EPOCHS, STEPS = 48, 12, 25


class Domains(NamedTuple):
    source: jax.Array  # [n, 1, 2], as features of one frame
    emotion: jax.Array  # [n]
    target: jax.Array  # [n, 1, 2]
    hidden: np.ndarray  # [n], the target's labels, for scoring


def make_domains(turn: float = 0.95, shift: tuple[float, float] = (0.5, -0.3), n: int = 240) -> Domains:
    """Draws clusters around three directions; the target's are turned by `turn` radians and shifted."""
    random = np.random.default_rng(0)

    def draw(turn: float, shift: tuple[float, float]) -> tuple[jax.Array, np.ndarray]:
        label = np.arange(n) % CLASSES
        angle = 2 * np.pi * label / CLASSES + turn
        points = 2 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.3 * random.normal(size=(n, 2)) + shift
        return jnp.asarray(points, jnp.float32)[:, None], label

    source, emotion = draw(0.0, (0.0, 0.0))
    target, hidden = draw(turn, shift)
    return Domains(source, jnp.asarray(emotion), target, hidden)


def make_params(key: jax.Array, method: Method) -> dict[str, Any]:
    """Parameters of a small perceptron, a linear classifier and the method."""
    uniform = jax.nn.initializers.lecun_uniform()
    keys = jax.random.split(key, 4)
    encoder = {"first": uniform(keys[0], (2, 32)), "bias": jnp.zeros(32), "second": uniform(keys[1], (32, WIDTH))}
    classifier = {"kernel": uniform(keys[2], (WIDTH, CLASSES)), "bias": jnp.zeros(CLASSES)}
    return {"encoder": encoder, "classifier": classifier, "method": method.init(keys[3], Dims(WIDTH, CLASSES, 0))}


def encode(encoder: Any, features: jax.Array, length: jax.Array | None = None) -> jax.Array:
    return jax.nn.relu(features[:, 0] @ encoder["first"] + encoder["bias"]) @ encoder["second"]


def classify(params: Any, representation: jax.Array) -> jax.Array:
    return representation @ params["classifier"]["kernel"] + params["classifier"]["bias"]


def make_context(params: Any, strength: Any = 1.0, progress: Any = 0.0, key: Any = None, average: Any = None) -> Context:
    def forward(features: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        representation = encode(params["encoder"], features)
        return representation, classify(params, representation)

    def teacher(features: jax.Array, length: jax.Array) -> jax.Array:
        model = params if average is None else average
        return jax.lax.stop_gradient(classify(model, encode(model["encoder"], features)))

    key = jax.random.key(0) if key is None else key
    strength, progress = jnp.asarray(strength, jnp.float32), jnp.asarray(progress, jnp.float32)
    return Context(strength, progress, key, params, {}, forward, encode, lambda x: classify(params, x), teacher)


def objective(
    params: Any, method: Method, phase: int, update: int, source: Any, target: Any, pseudo: jax.Array, context: tuple, key: Any
) -> jax.Array:
    """The loss of one update on a batch: source (features, emotion) and target features."""
    this = method.phases[phase]
    strength, progress, average = context
    noise_key, own_key = jax.random.split(key)
    both = jnp.concatenate([source[0], target])
    both += 0.3 * jax.random.uniform(noise_key, both.shape, minval=-1.0)  # the augmentation
    representation = encode(params["encoder"], both)
    logits = classify(params, representation)
    n, length = len(source[0]), jnp.ones(len(both), jnp.int32)
    of_source = Source(source[0], length[:n], representation[:n], logits[:n], source[1], jnp.full(n, -1))
    of_target = Target(target, length[n:], representation[n:], logits[n:], pseudo)
    risk = optax.softmax_cross_entropy_with_integer_labels(logits[:n], source[1]).mean()
    value, _ = this.updates[update].loss(
        params["method"],
        of_source if "source" in this.domains else None,
        of_target if "target" in this.domains else None,
        make_context(params, strength, progress, own_key, average),
    )
    return value + (risk if this.updates[update].source_risk else 0.0)


def fit(method: Method, domains: Domains, strength: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """Trains by Adam, phase by phase, and returns the parameters."""
    params = jax.jit(make_params, static_argnums=1)(jax.random.key(seed), method)
    average = params
    for p, phase in enumerate(method.phases):
        optimiser = optax.adam(3e-3 * phase.rate)
        opt_state = optimiser.init(params)

        def step(carry: Any, inputs: Any, p: int = p, phase: Any = phase, optimiser: Any = optimiser) -> Any:
            params, average, opt_state, pseudo, progress = carry
            key, rows = inputs
            for u, update in enumerate(phase.updates):
                gradient = jax.grad(objective)(
                    params, method, p, u, (domains.source[rows[0]], domains.emotion[rows[0]]), domains.target[rows[1]],
                    pseudo[rows[1]], (strength, progress, average), jax.random.fold_in(key, u),
                )  # fmt: skip
                moved, opt_state = optimiser.update(gradient, opt_state)
                moved = {g: moved[g] if g in update.trains else jax.tree.map(jnp.zeros_like, moved[g]) for g in moved}
                params = optax.apply_updates(params, moved)
            average = jax.tree.map(lambda a, b: 0.95 * a + 0.05 * b, average, params)
            return (params, average, opt_state, pseudo, progress), None

        @jax.jit
        def epoch(
            params: Any, average: Any, opt_state: Any, progress: jax.Array, key: jax.Array, phase: Any = phase, step: Any = step
        ) -> Any:
            pseudo = jnp.zeros((len(domains.target), CLASSES))
            if phase.pseudo_labels is not None:
                representation = encode(average["encoder"], domains.target)
                pseudo = phase.pseudo_labels(representation, classify(average, representation), progress)
            rows = jax.random.randint(key, (STEPS, 2, BATCH), 0, len(domains.source))
            carry = (params, average, opt_state, pseudo, progress)
            return jax.lax.scan(step, carry, (jax.random.split(key, STEPS), rows))[0][:3]

        epochs = max(1, round(EPOCHS * phase.fraction))
        for e in range(epochs):
            key = jax.random.fold_in(jax.random.key(seed + 1), 100 * p + e)
            params, average, opt_state = epoch(params, average, opt_state, jnp.asarray(e / epochs), key)
    return params


def accuracy(params: dict[str, Any], domains: Domains) -> float:
    """Of the target."""
    return float((classify(params, encode(params["encoder"], domains.target)).argmax(-1) == domains.hidden).mean())


class Batch(NamedTuple):
    """What a loss sees, with the outputs of the network as given numbers."""

    source: jax.Array  # representation
    target: jax.Array
    source_logits: jax.Array
    target_logits: jax.Array
    clean_source_logits: jax.Array
    clean_target_logits: jax.Array
    emotion: jax.Array
    pseudo: jax.Array


def make_batch(seed: int = 0, n: int = 4, m: int = 4, width: int = 16) -> Batch:
    """A random batch, smaller than the representation is wide."""
    random = np.random.default_rng(seed)
    representations = [random.normal(size=(rows, width)) + shift for rows, shift in ((n, 0.0), (m, 0.5))]
    logits = [2 * random.normal(size=(rows, CLASSES)) for rows in (n, m, n, m)]
    pseudo = np.eye(CLASSES)[random.integers(0, CLASSES, m)] * (np.arange(m) % 2)[:, None]
    floats = [jnp.asarray(x, jnp.float32) for x in (*representations, *logits)]
    return Batch(*floats, jnp.asarray(np.arange(n) % CLASSES), jnp.asarray(pseudo, jnp.float32))


@jax.jit
def degenerate_batches() -> Batch:
    """Batches at which a formula may divide by zero or take a root of it, stacked along a new first axis."""
    batch = make_batch()
    one_hot = 1e4 * jax.nn.one_hot(jnp.arange(len(batch.source)) % CLASSES, CLASSES)
    zero = jnp.zeros_like(batch.source_logits)

    def with_logits(logits: jax.Array) -> Batch:
        return batch._replace(**{name: logits for name in Batch._fields if name.endswith("logits")})

    cases = [
        batch,
        batch._replace(target=batch.source, target_logits=batch.source_logits),  # identical domains
        batch._replace(source=jnp.ones_like(batch.source), target=jnp.ones_like(batch.target)),
        batch._replace(source=jnp.zeros_like(batch.source), target=jnp.zeros_like(batch.target)),
        batch._replace(source=1e4 * batch.source, target=1e4 * batch.target),
        with_logits(one_hot),
        with_logits(1e4 * batch.source_logits),
        with_logits(zero),
        with_logits(zero.at[:, 0].set(1e4)),  # all one class
        batch._replace(pseudo=jnp.zeros_like(batch.pseudo)),
    ]
    return jax.tree.map(lambda *x: jnp.stack(x), *cases)


def loss_of(method: Method, batch: Batch, strength: float = 1.0) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of the method's last phase on a batch, with its diagnostics."""
    return jax.jit(_loss, static_argnums=0)(method, batch, strength)


def gradients_of(method: Method, batch: Batch) -> tuple[jax.Array, Batch]:
    """The loss, and its gradient for all that is real in the batch."""
    return jax.jit(_gradients, static_argnums=0)(method, batch, 1.0)


def _loss(method: Method, batch: Batch, strength: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    phase = method.phases[-1]
    context = make_context({"encoder": {}}, strength)._replace(
        forward=lambda features, length: (batch.target, batch.clean_target_logits),
        encode=lambda encoder, features, length: batch.source,
        classify=lambda representation: batch.clean_source_logits,
    )
    features = [jnp.zeros((len(x), 1, 2)) for x in (batch.source, batch.target)]
    length = [jnp.ones(len(x), jnp.int32) for x in (batch.source, batch.target)]
    speaker = jnp.full(len(batch.source), -1)
    source = Source(features[0], length[0], batch.source, batch.source_logits, batch.emotion, speaker)
    target = Target(features[1], length[1], batch.target, batch.target_logits, batch.pseudo)
    return phase.updates[-1].loss({}, source, target, context)


def _gradients(method: Method, batch: Batch, strength: Any) -> tuple[jax.Array, Batch]:
    real = {name: x for name, x in batch._asdict().items() if name != "emotion"}
    value, gradient = jax.value_and_grad(lambda real: _loss(method, batch._replace(**real), strength)[0])(real)
    return value, Batch(**gradient, emotion=batch.emotion)


def assert_well_behaved(method: Method) -> None:
    """Finite on degenerate batches, under vmap, for any strength in one program; strength 0 gives no gradient."""
    traces = 0

    def one(batch: Batch, strength: jax.Array) -> Any:
        nonlocal traces
        traces += 1
        return _gradients(method, batch, strength)

    compiled = jax.jit(jax.vmap(one, in_axes=(0, None)))
    for strength in (0.0, 0.5, 1.0):
        value, gradient = compiled(degenerate_batches(), strength)
        leaves = {**gradient._asdict(), "value": value}
        broken = {name: np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1)) for name, x in leaves.items()}
        assert not any(map(len, broken.values())), broken
        if strength == 0:
            for name in ("source", "target", "source_logits", "target_logits"):
                assert not np.any(getattr(gradient, name)), name
    assert traces == 1

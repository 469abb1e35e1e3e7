"""The keys that new parameters are drawn with, counted in Python.

They are nnx's own (`nnx.Rngs(seed)`), number by number. nnx holds its counter in an array, though, and where
a model is made under a trace, each key then takes a walk over all that was traced before it: setting the
counter asks a tracer for its sharding, and the answer is an error message. That was half of the time that
adding LoRA took.
"""

import jax
from flax import nnx


class Keys(nnx.Rngs):
    """Keys for parameters only. For one model, made in one place: a copy would count from where it was."""

    def __init__(self, seed: int | jax.Array):
        self._seed, self._drawn = nnx.data(jax.random.key(seed)), 0

    def params(self) -> jax.Array:
        """The next key.

        >>> ours, theirs = Keys(7), nnx.Rngs(7)
        >>> [bool(ours.params() == theirs.params()) for _ in range(3)]
        [True, True, True]
        """
        self._drawn += 1
        return jax.random.fold_in(self._seed, self._drawn - 1)

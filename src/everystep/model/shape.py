"""A model in the numbers that operations and bytes are counted with. No JAX.

An operation is one addition or one product.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """`kv`: heads of keys and values; `head`: width of a head; `remat`: whether a layer's inside is computed
    again in the backward pass; `adapter`: parameters of the adapters."""

    layers: int
    vocabulary: int
    width: int
    hidden: int
    heads: int
    kv: int
    head: int
    remat: bool
    adapter: float = 0.0

    @property
    def linear(self) -> int:
        """Parameters of all linear maps of the layers."""
        attention = (2 * self.heads + 2 * self.kv) * self.head * self.width
        return self.layers * (attention + 3 * self.width * self.hidden)

    @property
    def table(self) -> int:
        """Parameters of the embedding, which also makes the logits."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All of them but norms.

        >>> round(Shape(26, 262144, 1152, 6912, 4, 1, 256, True).parameters / 1e6)
        1000
        """
        return self.linear + self.table

    def forward(self, tokens: float, keys: float) -> float:
        """Operations of the layers for so many tokens that each look at `keys` positions."""
        return tokens * (2 * (self.linear + self.adapter) + 4 * self.layers * self.heads * self.head * keys)

    def logits(self, tokens: float) -> float:
        """Operations of the logits of so many positions."""
        return 2.0 * tokens * self.table


def shape(config: Any) -> Shape:
    """The shape that a `model.config.Config` describes."""
    return Shape(
        layers=config.num_layers,
        vocabulary=config.num_embed,
        width=config.embed_dim,
        hidden=config.hidden_dim,
        heads=config.num_heads,
        kv=config.num_kv_heads,
        head=config.head_dim,
        remat=config.remat_config.name != "NONE",
    )

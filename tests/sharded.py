"""What a micro model computes on as many devices as this process has, written to a file: tokens, losses,
adapters. Run by test_sharding.py in a process of its own, since a process keeps the devices it began with; as
one of several where it is told their place.

    python tests/sharded.py OUT replicated|fsdp whole|short [INDEX/COUNT@HOST:PORT]

Short: two layers, and no GRPO.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding

from everystep.core.recipe import Grpo, Sft
from everystep.core.types import Graded, Sampling
from everystep.data.difficulty import Draws
from everystep.model.chunk import structure
from everystep.model.hosts import decode_shared, join
from everystep.model.lora import adapter, merged, without
from everystep.model.mesh import device_mesh, local, place, put, weights_sharding
from everystep.score.mix import Mix
from everystep.score.rewards import PARTS
from everystep.train.grpo import grpo
from everystep.train.sft import examples, sft
from model_fixtures import INSTRUCTION, lora, tasks, texts, tokenizer

HOW = Grpo(steps=2, prompts=8, group=4, learning_rate=5e-3, warmup=0.0, beta=0.05, max_tokens=32)


def letters(graded: Graded) -> float:
    return len(set(graded.completion.text)) / 10


def policy(weights: str, layers: int | None = None) -> Any:
    """A micro policy on the mesh; with "fsdp" every matrix of its base is spread."""
    model, mesh = (
        lora(seed=8, moved=True, layers=layers) if layers else lora(seed=8, moved=True),
        device_mesh(),
    )
    if weights == "fsdp":
        _, adapters, rest = nnx.split(model, nnx.LoRAParam, ...)
        where = jax.tree.map(lambda x: weights_sharding(mesh, "fsdp", x.shape, least=1), rest)
        nnx.update(model, adapters, jax.tree.map(put, rest, where))
        spread = sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(nnx.state(model)))
        assert mesh.size == 1 or spread > 3 * (layers or 7), spread
    place(model, mesh)
    return model


def main(out: Path, weights: str, short: bool) -> None:
    found: dict[str, np.ndarray] = {"devices": np.array(jax.device_count())}
    model = policy(weights, layers=2 if short else None)
    ids = [tokenizer().encode_prompt(t) for t in texts(16)]  # whole groups, also in halves
    how = Sampling(temperature=0.8, max_tokens=16 if short else 48, seed=3)
    state = local(merged(model))
    rows = decode_shared(structure(without(model)), state, ids, 4, how, pad=tokenizer().pad, ends=tokenizer().ends)
    assert isinstance(jax.tree.leaves(state)[0].sharding, NamedSharding)
    for i, row in enumerate(r for group in rows for r in group):
        found[f"tokens/{i}"], found[f"logprobs/{i}"] = row.tokens, row.logprobs

    losses: list[float] = []
    data = examples(tasks()[:20], tokenizer(), INSTRUCTION)
    tune = Sft(epochs=1 if short else 3, batch=8, learning_rate=1e-2, eval_every=2)
    sft(model, tokenizer(), data[:16], data[16:], tune, 0, lambda step, m: losses.extend(m.values()))
    found["sft/losses"] = np.array(losses)
    found |= {f"sft/{k}": v for k, v in adapter(model).items()}

    if short:
        np.savez(out, **found)
        return
    model, said = policy(weights), list[dict[str, float]]()
    PARTS["letters"] = letters
    draws = Draws({"worked": tasks()[:16]}, {"worked": 1.0}, HOW.prompts, HOW.group, 0)

    def on_step(step: int, metrics: dict[str, float], graded: list[Graded], scores: Any) -> None:
        said.append(metrics)
        for i, g in enumerate(graded):
            found[f"grpo/tokens/{step}/{i}"] = np.array(g.completion.tokens)

    grpo(model, tokenizer(), draws, HOW, Mix({"letters": 1.0}), 0, INSTRUCTION, on_step)
    found |= {f"grpo/{k}": v for k, v in adapter(model).items()}
    for k in ("kl", "disagreement", "reward"):
        found[f"metrics/{k}"] = np.array([m[k] for m in said])
    np.savez(out, **found)


if __name__ == "__main__":
    if len(sys.argv) > 4:
        join(sys.argv[4])
    main(Path(sys.argv[1]), sys.argv[2], short=sys.argv[3] == "short")

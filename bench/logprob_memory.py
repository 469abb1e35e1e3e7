"""Memory of our training step against Tunix's stock loss at the same shapes, by XLA's compile-time analysis.

    python bench/logprob_memory.py [--model gemma-3-1b] [--rows 16] [--prompt 256] [--completion 768]

Both steps are Tunix's trainer over the same LoRA policy with layers computed again in the backward pass
(remat); the stock one has Tunix's own Gemma 3 and its GRPO loss with full logits. Prompts are not shared.
Nothing is computed. Each is compiled in float32 (XLA for CPU computes bfloat16 by way of float32 copies) at
two layers for one device; to what XLA says is added what remat keeps of a further layer, its input, the same
for both (docs/plan.md says why it is not taken along a line). Prints what each holds meanwhile ("temporary")
and the ratio; the exit code is 1 above a sixth.
"""

import argparse
import dataclasses
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

from everystep.forecast.memory import ACCELERATOR, kept

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = ACCELERATOR

import jax
import jax.numpy as jnp
import optax
import qwix
from flax import nnx
from tunix.models.gemma3.model import Gemma3, ModelConfig, RematConfig
from tunix.rl.algo_core import grpo_loss_fn
from tunix.rl.common import TrainExample
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from everystep.model.io.known import KNOWN
from everystep.model.lora import MODULES
from everystep.model.shape import shape
from everystep.train.footprint import footprint

GOAL = 1 / 6


LAYERS = 2


def ours(model: str, rows: int, prompt: int, completion: int) -> float:
    """Temporary bytes of our step at `LAYERS` layers; prompts are not shared either."""
    size = {"rows": rows, "length": prompt, "last": completion, "group": 1, "accumulate": None}
    asked = {
        "model": model,
        "dtype": "float32",
        "devices": 1,
        "weights": "replicated",
        "rank": 16,
        "alpha": 32.0,
    }
    asked |= {"layers": [LAYERS], "steps": [{"name": "step", "kind": "grpo", **size}]}
    return footprint(asked)["layers"][str(LAYERS)]["steps"]["step"]["meanwhile"]


def stock(model: str, rows: int, prompt: int, completion: int) -> float:
    """Temporary bytes of Tunix's step at `LAYERS` layers: its model, loss, trainer, and way to jit."""
    known = KNOWN[model]
    shared = {f.name: getattr(known, f.name) for f in dataclasses.fields(ModelConfig)}
    shared |= {"num_layers": LAYERS, "remat_config": RematConfig.DECODER, "param_dtype": jnp.float32}
    config = ModelConfig(**shared)

    def policy() -> Gemma3:
        base = Gemma3(config, rngs=nnx.Rngs(0))
        provider = qwix.LoraProvider(module_path=MODULES, rank=16, alpha=32.0)
        made: Any = qwix.apply_lora_to_model(base, provider, rngs=nnx.Rngs(0), **base.get_model_input())
        return made

    how = SimpleNamespace(
        beta=0.03, epsilon=0.2, loss_algo="grpo", loss_agg_mode="sequence-mean-token-mean", temperature=1.0,
        kl_loss_mode="low_var_kl", kl_clamp_value=None,
    )  # fmt: skip

    def trainer(of: Gemma3) -> PeftTrainer:
        made = PeftTrainer(of, optax.adamw(1e-5), TrainingConfig(eval_every_n_steps=10**9, max_steps=1))
        made.with_gen_model_input_fn(lambda x: {"train_example": x})
        made.with_loss_fn(lambda m, train_example: grpo_loss_fn(m, train_example, how, 0, 106), has_aux=True)
        return made

    model_ = nnx.eval_shape(policy)
    graph, state = nnx.split(model_)
    optimizer = nnx.eval_shape(lambda m: trainer(m).optimizer, model_)
    optimizer_graph, optimizer_state = nnx.split(optimizer)

    def step(state: Any, optimizer_state: Any, batch: Any) -> Any:
        of = nnx.merge(graph, state)
        inner = nnx.merge(optimizer_graph, optimizer_state)
        out: Any = trainer(of).create_train_step_fn()(of, inner, batch)
        return nnx.state(of), nnx.state(inner), out  # as nnx.jit does: all that the model has

    def dims(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    make: Any = TrainExample
    batch = make(
        prompt_ids=dims(jnp.int32, rows, prompt),
        prompt_mask=dims(jnp.bool_, rows, prompt),
        completion_ids=dims(jnp.int32, rows, completion),
        completion_mask=dims(jnp.bool_, rows, completion),
        advantages=dims(jnp.float32, rows),
        ref_per_token_logps=dims(jnp.float32, rows, completion),
        old_per_token_logps=dims(jnp.float32, rows, completion),
    )
    compiled: Any = jax.jit(step, donate_argnums=(1,)).lower(state, optimizer_state, batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gemma-3-1b", choices=[k for k in KNOWN if k.startswith("gemma-3")])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--completion", type=int, default=768)
    args = parser.parse_args()
    sizes, began = (args.model, args.rows, args.prompt, args.completion), time.monotonic()
    config = KNOWN[args.model]
    size = {"kind": "grpo", "rows": args.rows, "length": args.prompt, "last": args.completion, "group": 1}
    further = 4 * kept(size, shape(config), 1) * (config.num_layers - LAYERS)
    mine, theirs = ours(*sizes) + further, stock(*sizes) + further
    print(f"{args.model}, {args.rows} rows x ({args.prompt} + {args.completion}) tokens, {config.num_layers} layers")
    print(f"temporary memory, stock loss: {theirs / 1e9:6.2f} GB")
    print(f"temporary memory, ours:       {mine / 1e9:6.2f} GB")
    print(f"ratio {mine / theirs:.3f}, goal at most {GOAL:.3f}; {time.monotonic() - began:.0f} s")
    return 0 if mine <= GOAL * theirs else 1


if __name__ == "__main__":
    sys.exit(main())

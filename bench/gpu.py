"""One command for a machine with a GPU: decoding and a GRPO step of Gemma 3 1B with random weights.

    python bench/gpu.py [--model gemma-3-1b] [--rows 8,32,64,128,256,512] [--new 256] [--without transformers]

Weights are random and in bfloat16 (float32 on a CPU), so nothing is downloaded and no completion ends by
itself: every row runs to its last token. Prompts have 128 ids. The roof of a decode step is the time in which
the device reads the weights and the past once, at the bandwidth that it shows when it copies a large array;
what is reached of it is printed as a share. The GRPO step is 16 prompts of 8 completions, its parts timed one
by one. transformers' `generate` runs first, in a process of its own, where torch is installed.

Medians of three repeats after one that warms up. Where the memory ends, the row says so and
the next is tried.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.errors import JaxRuntimeError
from tunix.models.gemma3.model import RematConfig

from everystep.core.recipe import Grpo
from everystep.core.types import Sampling
from everystep.model.chunk import structure
from everystep.model.config import Config
from everystep.model.decode import decode
from everystep.model.gemma import Gemma
from everystep.model.io.known import shape_of
from everystep.model.kv_cache import at_most
from everystep.model.lora import add_lora, merged
from everystep.model.tiny import fresh
from everystep.train.losses import PolicyBatch, policy_loss, reference
from everystep.train.step import Trainer

PROMPT, REPEATS = 128, 3
PROMPTS, GROUP, MICRO = 16, 8, 4  # of a GRPO step; MICRO prompts go through the backward pass together
PAD = 0
NEVER = (PAD,)  # padding is never drawn, so that nothing ends

# transformers in a process of its own: the memory that JAX took is not there for it.
GENERATE = """
import json, sys, time, torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig
given = json.loads(sys.argv[1])
device = "cuda" if torch.cuda.is_available() else "cpu"
with torch.device(device):
    model = Gemma3ForCausalLM(Gemma3TextConfig(**given["config"])).to(getattr(torch, given["dtype"])).eval()
model.generation_config.eos_token_id = None
for rows in given["rows"]:
    ids = torch.randint(10, given["config"]["vocab_size"] - 10, (rows, given["prompt"]), device=device)
    seconds = []
    try:
        for repeat in range(4):
            began = time.perf_counter()
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, top_p=1.0,
                                 max_new_tokens=given["new"], pad_token_id=0)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        assert out.shape[1] == given["prompt"] + given["new"]
        print(json.dumps({"rows": rows, "seconds": sorted(seconds[1:])[1]}), flush=True)
    except torch.OutOfMemoryError:
        print(json.dumps({"rows": rows, "seconds": None}), flush=True)
"""


def median(work: Callable[[], Any]) -> float:
    """Seconds, after one call that warms up."""
    jax.block_until_ready(work())
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def bandwidth() -> float:
    """Bytes a second that the device reads and writes when it copies."""
    x = jnp.zeros(1 << (28 if jax.default_backend() != "cpu" else 25), jnp.float32)
    return 2 * x.nbytes / median(jax.jit(lambda: x + 1))


def roof(config: Config, weights: int, rows: int, new: int, rate: float) -> float:
    """Tokens a second if each step did no more than read the weights and half of the final past."""
    held = at_most(PROMPT + new, 16, config.sliding_window_size or 0)
    near = sum(config.local(i) for i in range(config.num_layers))
    slots = near * held["near"] + (config.num_layers - near) * held["far"]
    entry = 2 * config.num_kv_heads * config.head_dim * jnp.dtype(config.param_dtype).itemsize
    return rows * rate / (weights + rows * slots * entry * (PROMPT + new / 2) / (PROMPT + new))


def prompts(config: Config, count: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return rng.integers(10, config.num_embed - 10, (count, PROMPT)).tolist()


def decoding(model: Gemma, config: Config, rows: list[int], new: int, theirs: dict[int, float | None]) -> None:
    """Tokens a second at each number of rows, beside the roof and transformers."""
    graph, state = structure(model), nnx.state(model)
    weights = sum(x.nbytes for x in jax.tree.leaves(state))
    rate = bandwidth()
    print(f"weights {weights / 1e9:.2f} GB, copying at {rate / 1e9:.0f} GB/s, {new} new tokens a row")
    how = Sampling(temperature=1.0, max_tokens=new)
    print(f"{'rows':>5} {'tokens/s':>10} {'of the roof':>12} {'transformers':>13} {'ratio':>6}")
    for count in rows:
        once = partial(decode, graph, state, prompts(config, count), 1, how, pad=PAD, ends=NEVER)
        try:
            seconds = median(lambda once=once: len(once()))
        except JaxRuntimeError as error:
            print(f"{count:>5} {str(error).splitlines()[0][:60]}")
            continue
        ours, other = count * new / seconds, theirs.get(count)
        share = ours / roof(config, weights, count, new, rate)
        beside = f"{count * new / other:>13.0f} {other / seconds:>5.1f}x" if other else f"{'-':>13} {'-':>6}"
        print(f"{count:>5} {ours:>10.0f} {share:>11.0%} {beside}", flush=True)


def step(model: Gemma, config: Config, new: int) -> None:
    """Seconds of the parts of a GRPO step: rollout, reference, update."""
    policy = add_lora(model, 16, 32.0, 0)
    policy.remat = True
    rng = np.random.default_rng(1)
    asked = prompts(config, PROMPTS)
    how = Sampling(temperature=1.0, max_tokens=new)
    graph = structure(model)
    spent = {"rollout": median(lambda: len(decode(graph, merged(policy), asked, GROUP, how, pad=PAD, ends=NEVER)))}
    rows = MICRO * GROUP
    left = np.repeat(np.array(asked[:MICRO], np.int32), GROUP, axis=0)
    completions = rng.integers(10, config.num_embed - 10, (rows, new)).astype(np.int32)
    passes = PROMPTS // MICRO
    refer = reference(policy, GROUP, PAD, 1.0)
    spent["reference"] = passes * median(lambda: refer(left, completions))
    shape = completions.shape
    even = np.full(shape, 1 / completions.size, np.float32)
    fields: Any = {
        "prompts": left,
        "completions": completions,
        "advantages": rng.normal(size=rows).astype(np.float32),
        "sampled": np.zeros(shape, np.float32),
        "reference": np.zeros(shape, np.float32),
        "weight": even,
        "share": even,
    }
    batch = PolicyBatch(**fields, group=GROUP)
    trainer = Trainer(policy, partial(policy_loss, config=Grpo(epsilon=0.2, beta=0.03), pad=PAD))
    spent["update"] = median(lambda: trainer.step([[batch]] * passes, 1e-6))
    total = sum(spent.values())
    parts = ", ".join(f"{name} {seconds:.2f} s ({seconds / total:.0%})" for name, seconds in spent.items())
    tokens = PROMPTS * GROUP * new
    print(f"GRPO step, {PROMPTS} x {GROUP} completions of {new} tokens: {total:.2f} s,", end=" ")
    print(f"{tokens / total:.0f} tokens/s: {parts}")


def transformers(config: Config, rows: list[int], new: int) -> dict[int, float | None]:
    """Seconds of `generate` by number of rows, where torch is installed."""
    given = {
        "config": {
            "vocab_size": config.num_embed,
            "hidden_size": config.embed_dim,
            "intermediate_size": config.hidden_dim,
            "num_hidden_layers": config.num_layers,
            "num_attention_heads": config.num_heads,
            "num_key_value_heads": config.num_kv_heads,
            "head_dim": config.head_dim,
            "sliding_window": config.sliding_window_size,
        },
        "dtype": jnp.dtype(config.param_dtype).name,
        "rows": rows,
        "prompt": PROMPT,
        "new": new,
    }
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, json.dumps(given)], capture_output=True, text=True, timeout=1800
    )
    if done.returncode:
        print(f"transformers: {(done.stderr.strip().splitlines() or ['no word'])[-1][:100]}")
    made = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["rows"]: row["seconds"] for row in made}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gemma-3-1b")
    parser.add_argument("--rows", default="8,32,64,128,256,512")
    parser.add_argument("--new", type=int, default=256, help="tokens of a completion")
    parser.add_argument("--without", default="", help="transformers")
    given = parser.parse_args()
    rows = [int(n) for n in given.rows.split(",")]
    # Not asked of JAX, which would take the device's memory before transformers has had its turn.
    gpu = any(find_spec(name) for name in ("jax_cuda12_plugin", "jax_cuda13_plugin"))
    config = shape_of(given.model, jnp.bfloat16 if gpu else jnp.float32)
    config = replace(config, remat_config=RematConfig.NONE)
    theirs = {} if given.without == "transformers" else transformers(config, rows, given.new)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {given.model}")
    model = fresh(config, 0)
    decoding(model, config, rows, given.new, theirs)
    step(model, config, given.new)


if __name__ == "__main__":
    main()

"""Tunix as its documentation sets it up: vanilla rollout, GRPO learner, PeftTrainer with its default loss.

Given what it need not have had: all prompts of a step decoded together (by default only a micro-batch's), no
copy of the policy for its agents, no text in its metrics, its progress bar off. Its rewards are the lengths
of the texts, so that nothing is spent on them. Completions lose their end token, as it does.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import qwix
import tunix
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.gemma3.model import Gemma3, ModelConfig
from tunix.models.gemma3.params_safetensors import create_model_from_safe_tensors
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig, TrainingInput
from worker import Done, Once, Spec, serve, stepped

from everystep.model.config import read_config
from everystep.model.lora import MODULES
from everystep.model.tokenizer import Tokenizer, load_tokenizer

NEVER = 10**6
UNSAID = 5  # an id that the policy never writes; names the end where there is to be none


@dataclass(frozen=True, slots=True)
class Adapter:
    """The tokenizer as Tunix asks for it."""

    inner: Tokenizer

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text)

    def decode(self, ids: list[int]) -> str:
        return self.inner.decode(ids)

    def bos_id(self) -> int:
        return self.inner.bos

    def eos_id(self) -> int:
        return self.inner.ends[-1]

    def pad_id(self) -> int:
        return self.inner.pad


def mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.devices()).reshape(1, 1), ("fsdp", "tp"))


def base_of(spec: Spec) -> Gemma3:
    config = read_config(Path(spec["model"]))
    fields = {f: getattr(config, f) for f in ModelConfig.__dataclass_fields__}
    return create_model_from_safe_tensors(spec["model"], ModelConfig(**fields), mesh(), dtype=jnp.float32)


def with_lora(spec: Spec, base: Gemma3) -> Gemma3:
    provider = qwix.LoraProvider(module_path=MODULES, rank=spec["rank"], alpha=spec["alpha"])
    return qwix.apply_lora_to_model(base, provider, rngs=nnx.Rngs(0), **base.get_model_input())


def longest_prompt(spec: Spec) -> int:
    """A multiple of 32, as ours pads prompts."""
    return -(-max(len(p) for p in spec["prompts"]) // 32) * 32


def optimizer(spec: Spec) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(spec["learning_rate"], b1=0.9, b2=0.99))


def rollout(spec: Spec) -> Once:
    length = longest_prompt(spec)
    config = read_config(Path(spec["model"]))
    cache = CacheConfig(length + spec["max_tokens"], config.num_layers, config.num_kv_heads, config.head_dim)
    sampler = Sampler(base_of(spec), Adapter(load_tokenizer(Path(spec["model"]))), cache)
    texts = [text for text in spec["texts"] for _ in range(spec["group"])]

    def once(repeat: int) -> Done:
        out = sampler(
            texts,
            max_generation_steps=spec["max_tokens"],
            max_prompt_length=length,
            temperature=spec["temperature"],
            top_p=1.0,
            eos_tokens=spec["ends"] or [UNSAID],
            seed=repeat,
        )
        lengths = [len(row) + bool(spec["ends"]) for row in out.tokens]
        return {"rows": len(lengths), "tokens": sum(lengths), "longest": max(lengths)}

    return once


def grpo_step(spec: Spec) -> Once:
    tokenizer = load_tokenizer(Path(spec["model"]))
    base = base_of(spec)
    roles = mesh()
    prompts = len(spec["texts"])
    config = ClusterConfig(
        role_to_mesh={Role.ACTOR: roles, Role.REFERENCE: roles, Role.ROLLOUT: roles},
        rollout_engine="vanilla",
        training_config=RLTrainingConfig(
            eval_every_n_steps=NEVER,
            max_steps=NEVER,
            actor_optimizer=optimizer(spec),
            mini_batch_size=prompts,
            train_micro_batch_size=spec["micro"] // spec["group"],
            rollout_micro_batch_size=prompts,
            compute_logps_micro_batch_size=spec["micro"] // spec["group"],
        ),
        rollout_config=RolloutConfig(
            max_tokens_to_generate=spec["max_tokens"],
            max_prompt_length=longest_prompt(spec),
            kv_cache_size=longest_prompt(spec) + spec["max_tokens"],
            temperature=spec["temperature"],
            eos_tokens=spec["ends"] or [UNSAID],
        ),
    )
    cluster = RLCluster(
        actor=with_lora(spec, base), reference=base, tokenizer=Adapter(tokenizer), cluster_config=config
    )
    cluster._anchor_policy_state = None
    cluster.buffer_metrics = lambda *_, **__: None
    lengths: list[int] = []

    def length(prompts: Any, completions: list[str], **_: Any) -> list[float]:
        lengths.extend(len(tokenizer.encode(text)) + bool(spec["ends"]) for text in completions)
        return [float(len(text)) for text in completions]

    learner = GRPOLearner(
        cluster,
        reward_fns=length,
        algo_config=GRPOConfig(num_generations=spec["group"], beta=spec["beta"], epsilon=spec["epsilon"]),
    )

    def run(pause: Callable[[Done], None]) -> None:
        def batches() -> Iterator[dict[str, Any]]:
            batch = {"prompts": np.array(spec["texts"], dtype=object)}
            yield batch
            while True:
                # The next batch is asked for when the step before has been learned from.
                if lengths:
                    done: Done = {"rows": len(lengths), "tokens": sum(lengths), "longest": max(lengths)}
                    lengths.clear()
                    jax.block_until_ready(nnx.state(cluster.actor_trainer.model))
                    pause(done)
                yield batch

        learner.train(batches())

    return stepped(run)


def sft_step(spec: Spec) -> Once:
    model = with_lora(spec, base_of(spec))
    trainer = PeftTrainer(model, optimizer(spec), TrainingConfig(eval_every_n_steps=NEVER, max_steps=NEVER))
    size, pad = spec["batch"], spec["pad"]
    # Tunix's own recipes pad every row to one maximum length.
    most = -(-max(len(p) + len(c) for p, c in spec["examples"]) // 32) * 32

    def inputs(batch: Any) -> dict[str, Any]:
        real = batch.input_tokens != pad
        mask = jnp.tril(jnp.ones((most, most), bool))[None] & real[:, None, :]
        positions = jnp.maximum(jnp.cumsum(real, axis=-1) - 1, 0)
        return {
            "input_tokens": batch.input_tokens,
            "input_mask": batch.input_mask,
            "positions": positions,
            "attention_mask": mask,
        }

    def run(pause: Callable[[Done], None]) -> None:
        def batches() -> Iterator[TrainingInput]:
            at = 0
            while True:
                rows = [spec["examples"][(at + i) % len(spec["examples"])] for i in range(size)]
                at += size
                tokens, mask = np.full((size, most), pad, np.int32), np.zeros((size, most), bool)
                for i, (prompt, completion) in enumerate(rows):
                    tokens[i, : len(prompt) + len(completion)] = prompt + completion
                    mask[i, len(prompt) : len(prompt) + len(completion)] = True
                yield TrainingInput(input_tokens=tokens, input_mask=mask)
                jax.block_until_ready(nnx.state(trainer.model))
                total = sum(len(c) for _, c in rows)
                pause({"rows": size, "tokens": total, "longest": max(len(c) for _, c in rows)})

        trainer.with_gen_model_input_fn(inputs)
        trainer.train(batches())

    return stepped(run)


if __name__ == "__main__":
    logging.getLogger("absl").setLevel(logging.WARNING)
    serve(
        {"rollout": rollout, "grpo": grpo_step, "sft": sft_step},
        {"tunix": tunix.__version__, "jax": jax.__version__},
    )

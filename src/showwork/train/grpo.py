"""Group relative policy optimisation: Tunix's GRPOLearner with our rollout, rewards, loss and data.

One step: prompts from the mixture, a group of completions for each, graded and scored on the host, one update
of the adapter. Left to the caller: which tasks, where metrics and records go, and when to stop.

The loss (Shao et al. 2024, "DeepSeekMath", eq. 3, with the token-level mean of Yu et al. 2025, "DAPO"): the
clipped ratio to the sampling policy times the group-normalised reward, plus β times Schulman's low-variance
estimate of the KL divergence from the *SFT* policy.
"""

import functools
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float
from tunix.rl import function_registry
from tunix.rl.common import TrainExample
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from showwork.model.decode import Decoded, left_pad, prompt_length
from showwork.model.gemma import Gemma
from showwork.model.logprobs import token_logprobs
from showwork.model.rollout import Rollout
from showwork.model.tokenizer import Tokenizer
from showwork.recipe import Grpo
from showwork.score.groups import score_groups, spread
from showwork.trace import prompt
from showwork.train.engine import keep_base
from showwork.train.optimizer import adapter_optimizer, schedule
from showwork.types import Completion, Graded, Sampling, Score, Stop, Task
from showwork.verify.grade import grade

_BUCKET = 32  # completions are padded to multiples of this, so that few shapes are compiled
_REFILLS = 2  # how often dead groups of a step may be replaced
LOSS = "showwork"  # our name in Tunix's registry of policy losses

OnStep = Callable[[int, dict[str, float], list[Graded], list[Score]], None]


@flax.struct.dataclass
class Examples(TrainExample):
    """Tunix's training rows, and a weight for every token: zero at padding; over an optimizer batch the weights sum
    to the number of micro-batches, so that the mean over micro-batches is the mean over tokens."""

    weight: Any = None


@dataclass(frozen=True, slots=True)
class Groups:
    """The sampled, graded and scored groups of one step; one entry a prompt."""

    tasks: list[Task]
    rows: list[list[Decoded]]
    graded: list[list[Graded]]
    scores: list[list[Score]]

    def dead(self) -> list[int]:
        return [i for i, group in enumerate(self.scores) if spread(group).dead]


def step_seed(seed: int, step: int, round_: int = 0) -> int:
    """The sampling seed of a step: a function of (run seed, step, refill round) and of nothing else."""
    return zlib.crc32(f"{seed}/{step}/{round_}".encode())


def advantages(scores: Sequence[Sequence[Score]], floor: float = 0.05) -> Float[np.ndarray, "rows"]:
    """(score - group mean) / group standard deviation, row by row. The deviation has a floor, so that noise in
    a nearly unanimous group is not blown up; dead groups and scores that are None get 0."""
    out: list[float] = []
    for group in scores:
        totals = np.array([math.nan if s.total is None else s.total for s in group])
        known = totals[~np.isnan(totals)]
        if len(known) < 2:
            out += [0.0] * len(group)
            continue
        out += np.nan_to_num((totals - known.mean()) / max(known.std(), floor)).tolist()
    return np.array(out, np.float32)


@function_registry.register_policy_loss_fn(LOSS)
def policy_loss(
    model: Gemma, train_example: Examples, algo_config: GRPOConfig, pad_id: int, eos_id: int
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss in the module's docstring; the auxiliary values are means over tokens."""
    x = train_example
    tokens = jnp.concatenate([x.prompt_ids, x.completion_ids], axis=1)
    new = token_logprobs(model, tokens, pad_id, x.completion_ids.shape[1], algo_config.temperature)
    ratio = jnp.exp(new - x.old_per_token_logps)
    gain = x.advantages[:, None]
    clipped = jnp.clip(ratio, 1 - algo_config.epsilon, 1 + algo_config.epsilon)
    per_token = -jnp.minimum(ratio * gain, clipped * gain)
    apart = x.ref_per_token_logps - new
    kl = jnp.exp(apart) - apart - 1
    aux = {
        "kl": jnp.sum(kl * x.weight),
        "pg_clipfrac": jnp.sum((ratio * gain > clipped * gain) * x.weight),
        "entropy": -jnp.sum(new * x.weight),
        "disagreement": jnp.max(jnp.abs(new - x.old_per_token_logps) * (x.weight > 0)),
    }
    return jnp.sum((per_token + algo_config.beta * kl) * x.weight), aux


class Learner(GRPOLearner):
    """GRPOLearner whose rollout, rewards and examples are ours. The attributes are set once by `grpo`."""

    tokenizer: Tokenizer
    how: Grpo
    seed: int
    instruction: str
    weights: dict[str, float]
    tasks: dict[int, list[Task]]
    refill: Callable[[int], Sequence[Task]]
    reference: Callable[[Array, int], Array]
    on_groups: Callable[[int, Groups, dict[str, float]], None]

    def _generate_and_compute_advantage(self, training_input: dict[str, Any], mode: Any = None) -> Examples:
        """Called by Tunix with prompts already repeated group-wise; `task` holds each row's place in the step."""
        step = self.rl_cluster.global_steps
        places = np.asarray(training_input["task"])[:: self.how.group]
        groups = self._sample([self.tasks[step][int(i)] for i in places], step, 0)
        first_dead = len(groups.dead())
        if self.how.refill:
            groups = self._refill(groups, step)
        examples = self._examples(groups)
        self.on_groups(step, groups, {"dead_groups": first_dead / len(groups.tasks), "live": 1 - len(groups.dead()) / len(groups.tasks)})
        return examples

    def _sample(self, tasks: list[Task], step: int, round_: int) -> Groups:
        how = Sampling(
            temperature=self.how.temperature,
            max_tokens=self.how.max_tokens,
            seed=step_seed(self.seed, step, round_),
        )
        prompts = [prompt(t, self.instruction).text for t in tasks]
        rows = self.rl_cluster.rollout.sample(prompts, self.how.group, how)
        graded = [
            [grade(task, _completion(task, i, row, self.tokenizer)) for i, row in enumerate(group)]
            for task, group in zip(tasks, rows, strict=True)
        ]
        return Groups(tasks, rows, graded, score_groups(graded, self.weights))

    def _refill(self, groups: Groups, step: int) -> Groups:
        """Replace dead groups by live ones of other prompts, a bounded number of times."""
        for round_ in range(1, _REFILLS + 1):
            dead = groups.dead()
            if not dead:
                break
            fresh = self._sample(list(self.refill(step * _REFILLS + round_ - 1)), step, round_)
            spare = [i for i in range(len(fresh.tasks)) if not spread(fresh.scores[i]).dead]
            for at, i in zip(dead, spare, strict=False):
                for have, new in zip(
                    (groups.tasks, groups.rows, groups.graded, groups.scores),
                    (fresh.tasks, fresh.rows, fresh.graded, fresh.scores),
                    strict=True,
                ):
                    have[at] = new[i]
        return groups

    def _examples(self, groups: Groups) -> Examples:
        rows = [row for group in groups.rows for row in group]
        pad = self.tokenizer.pad
        prompts = [self.tokenizer.encode_prompt(prompt(t, self.instruction).text) for t in groups.tasks]
        left = np.repeat(left_pad(prompts, prompt_length(prompts), pad), self.how.group, axis=0)
        longest = max(len(r.tokens) for r in rows)
        length = -(-longest // _BUCKET) * _BUCKET
        completion = np.full((len(rows), length), pad, np.int32)
        old = np.zeros((len(rows), length), np.float32)
        for i, row in enumerate(rows):
            completion[i, : len(row.tokens)] = row.tokens
            old[i, : len(row.tokens)] = row.logprobs
        mask = np.arange(length) < np.array([len(r.tokens) for r in rows])[:, None]
        micros = self.how.prompts // (self.how.micro_prompts or self.how.prompts)
        tokens = jnp.concatenate([jnp.asarray(left), jnp.asarray(completion)], axis=1)
        return Examples(
            prompt_ids=jnp.asarray(left),
            prompt_mask=jnp.asarray(left != pad),
            completion_ids=jnp.asarray(completion),
            completion_mask=jnp.asarray(mask),
            advantages=jnp.asarray(advantages(groups.scores)),
            ref_per_token_logps=self.reference(tokens, length) if self.how.beta else jnp.asarray(old),
            old_per_token_logps=jnp.asarray(old),
            weight=jnp.asarray(mask * np.float32(micros / mask.sum())),
        )


def _completion(task: Task, sample: int, row: Decoded, tokenizer: Tokenizer) -> Completion:
    tokens = row.tokens.tolist()
    stop = Stop.END if row.ended else Stop.LENGTH
    return Completion(task.id, sample, tokenizer.decode(tokens), tuple(tokens), tuple(row.logprobs.tolist()), stop)


@dataclass(frozen=True, slots=True)
class _Adapter:
    """The tokenizer as Tunix asks for it, holding ours."""

    inner: Tokenizer

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.inner.decode(ids)

    def bos_id(self) -> int:
        return self.inner.bos

    def eos_id(self) -> int:
        return self.inner.ends[-1]

    def pad_id(self) -> int:
        return self.inner.pad


def grpo(
    model: Gemma,
    tokenizer: Tokenizer,
    batch: Callable[[int], Sequence[Task]],
    refill: Callable[[int], Sequence[Task]],
    how: Grpo,
    weights: dict[str, float],
    seed: int,
    instruction: str,
    on_step: OnStep,
) -> None:
    """Train the model's adapter in place for `how.steps` steps, against the adapter it comes with.

    `batch(k)` gives step k's tasks, `refill(k)` spare ones. `on_step(step, metrics, graded, scores)` after each
    update, steps counted from 1.
    """
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    _place(model, mesh)
    rate = schedule(how.learning_rate, how.warmup, how.steps)
    config = ClusterConfig(
        role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
        rollout_engine=functools.partial(Rollout),
        training_config=RLTrainingConfig(
            eval_every_n_steps=10**9,
            max_steps=how.steps,
            actor_optimizer=adapter_optimizer(rate),
            mini_batch_size=how.prompts,
            train_micro_batch_size=how.micro_prompts or how.prompts,
            rollout_micro_batch_size=how.prompts,
            compute_logps_micro_batch_size=how.prompts,
        ),
        rollout_config=RolloutConfig(
            max_tokens_to_generate=how.max_tokens, temperature=how.temperature, kv_cache_size=how.max_tokens + 1024
        ),
    )
    reference = _reference(model, tokenizer.pad, how.temperature)
    cluster = RLCluster(actor=model, reference=None, tokenizer=_Adapter(tokenizer), cluster_config=config)
    cluster._anchor_policy_state = None  # a second copy of the model that only Tunix's agents read
    cluster.buffer_metrics = lambda *_, **__: None  # every prompt and completion as strings; ours are in the records
    assert cluster.actor_trainer.model is model
    keep_base(cluster.actor_trainer)
    learner = Learner(
        cluster,
        GRPOConfig(
            num_generations=how.group, beta=how.beta, epsilon=how.epsilon, kl_loss_mode="low_var_kl", policy_loss_fn=LOSS
        ),
        reward_fns=_never,
    )
    learner.tokenizer, learner.how, learner.seed = tokenizer, how, seed
    learner.instruction, learner.weights, learner.refill = instruction, weights, refill
    learner.tasks, learner.reference = {}, reference
    watch = _Watch(learner, how, rate, on_step)
    learner.on_groups = watch.groups
    cluster.actor_trainer._post_process_train_step = watch.after
    learner.train(_prompts(batch, learner, how, instruction), skip_jit=True)


def _place(model: Gemma, mesh: Mesh) -> None:
    """Put the model on the mesh, in place: RLCluster would make a copy of a model that is not there yet, and then
    the caller's model and the trained one would be two."""
    state = nnx.state(model)
    specs = nnx.get_partition_spec(state)
    where = jax.tree.map(lambda spec: NamedSharding(mesh, spec or PartitionSpec()), specs)
    nnx.update(model, jax.device_put(state, where))


def _never(prompts: Any, completions: Any, trajectory_ids: Any = None) -> list[float]:
    """Tunix wants a reward function; ours are scored as groups in `_sample`, and this must never be asked."""
    raise AssertionError("rewards come from score_groups")


def _prompts(batch: Callable[[int], Sequence[Task]], learner: Learner, how: Grpo, instruction: str) -> Any:
    """Tunix's data set: for each step the prompts and each one's place in the step."""
    for step in range(how.steps):
        tasks = list(batch(step))
        learner.tasks = {step: tasks, step - 1: learner.tasks.get(step - 1, [])}
        texts = np.array([prompt(t, instruction).text for t in tasks], dtype=object)
        yield {"prompts": texts, "task": np.arange(len(tasks))}


def _reference(model: Gemma, pad: int, temperature: float) -> Callable[[Array, int], Array]:
    """Log-probabilities under the policy as it is now. The adapter is copied; the base's arrays are shared."""
    graph, adapter, rest = nnx.split(model, nnx.LoRAParam, ...)
    adapter = jax.tree.map(jnp.copy, adapter)

    @functools.partial(jax.jit, static_argnames="last")
    def run(adapter: Any, rest: Any, tokens: Array, last: int) -> Array:
        return token_logprobs(nnx.merge(graph, adapter, rest), tokens, pad, last, temperature)

    return lambda tokens, last: run(adapter, rest, tokens, last)


class _Watch:
    """Joins what the rollout saw and what the update measured into one report per step."""

    def __init__(self, learner: Learner, how: Grpo, rate: Any, on_step: OnStep):
        self.how, self.rate, self.on_step = how, rate, on_step
        self.micros = how.prompts // (how.micro_prompts or how.prompts)
        self.seen: list[dict[str, float]] = []
        self.pending: tuple[int, Groups, dict[str, float]] | None = None

    def groups(self, step: int, groups: Groups, metrics: dict[str, float]) -> None:
        self.pending = (step, groups, metrics)

    def after(self, aux: dict[str, Array]) -> None:
        self.seen.append({k: float(v) for k, v in aux.items()})
        if len(self.seen) < self.micros:
            return
        assert self.pending is not None
        step, groups, metrics = self.pending
        graded = [g for group in groups.graded for g in group]
        scores = [s for group in groups.scores for s in group]
        metrics = metrics | {k: float(np.mean([s[k] for s in self.seen])) for k in self.seen[0]}
        metrics["learning_rate"] = float(self.rate(step))
        metrics["reward"] = _mean([s.total for s in scores])
        for name in scores[0].parts:
            metrics[f"reward/{name}"] = _mean([s.parts[name] for s in scores])
        metrics["contract"] = float(np.mean([g.contract for g in graded]))
        metrics["format"] = float(np.mean([not g.trace.faults for g in graded]))
        metrics["tokens"] = float(np.mean([len(g.completion.tokens) for g in graded]))
        metrics["truncated"] = float(np.mean([g.completion.stop is Stop.LENGTH for g in graded]))
        self.seen.clear()
        self.on_step(step + 1, metrics, graded, scores)


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else math.nan

"""Tunix's own GRPO, as it comes (`grpo.engine: tunix-stock`), and all contact with Tunix's training there is.

Tunix's are here: RLCluster and GRPOLearner with their loop, the trainer with its compiled step and accumulation,
the loss "grpo" and the advantage estimators of its registry. Ours are what it is given: the completions, by way of
its rollout interface; their scores, as its reward function; the optimizer it is to step; checkpoints. Which of our
settings it has a counterpart for, and what differs all the same, is in docs/engine.md. The models are Tunix's too
(`model/gemma.py`, `model/layers.py`), and so is the adapter, by way of qwix (`model/lora.py`).

`tests/test_tunix_contract.py` holds every name and behaviour that is relied on here.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import BaseRollout, RolloutConfig, RolloutOutput

from everystep.core.recipe import Grpo
from everystep.core.trace import prompt
from everystep.data.difficulty import Draws
from everystep.model.decode import left_pad, prompt_length
from everystep.model.gemma import Gemma
from everystep.model.mesh import device_mesh, place
from everystep.model.tokenizer import Tokenizer
from everystep.score.judge import Judge
from everystep.score.mix import Mix
from everystep.train.groups import Groups, GroupSource
from everystep.train.grpo import OnStep, measured, rows_with_one_prompt
from everystep.train.rollouts import ROLLOUTS
from everystep.train.stage_session import StageSession
from everystep.train.step import dotted, named, restored
from everystep.train.timing import PhaseTimer, listen

# Our names to Tunix's.
LOSS_MEANS = {
    "grpo": "sequence-mean-token-mean",
    "dapo": "token-mean",
    "dr_grpo": "sequence-mean-token-scale",
    "gspo": "sequence-mean-token-mean",
}
ESTIMATORS = {"group": "grpo", "dr_grpo": "drgrpo", "rloo": "rloo"}


@dataclasses.dataclass
class StockConfig(GRPOConfig):
    """Tunix's settings and one that its loss looks for and its class does not declare."""

    epsilon_high: float = 0.2


@dataclasses.dataclass
class Drawn:
    """The step that Tunix is at: its groups, which the rollout hands in and the reward function scores."""

    step: int = 0
    groups: Groups | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


class HandedIn(BaseRollout):
    """A rollout that hands in completions which are there already, group after group."""

    def __init__(
        self, drawn: Drawn, tokens: Tokenizer, rollout_actor: Gemma, tokenizer: Any, mesh: Any, rollout_config: Any
    ):
        self.drawn, self.tokens, self.actor = drawn, tokens, rollout_actor

    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]  (Tunix passes no more than this)
        self, prompts: list[str], rollout_config: RolloutConfig
    ) -> RolloutOutput:
        groups = self.drawn.groups
        assert groups is not None
        rows = [row for group in groups.rows for row in group]
        ids = [self.tokens.encode_prompt(p) for p in prompts]
        return RolloutOutput(
            text=[g.completion.text for group in groups.graded for g in group],
            logits=[],
            tokens=[row.tokens for row in rows],
            left_padded_prompt_tokens=left_pad(ids, prompt_length(ids), self.tokens.pad),
            logprobs=[row.logprobs for row in rows],
        )

    def get_per_token_logps(self, prompt_tokens: Any, completion_tokens: Any) -> Any:
        raise ValueError("only one update is made of a step's completions, so nothing asks for these")

    def update_params(self, params: Any, filter_types: Any = None) -> None:
        nnx.update(self.actor, params)

    def pad_id(self) -> int:
        return self.tokens.pad

    def eos_id(self) -> int:
        return self.tokens.ends[-1]

    def model(self) -> Gemma:
        return self.actor


@dataclasses.dataclass(frozen=True, slots=True)
class AsTunixAsks:
    """Our tokenizer under the names that Tunix calls."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class StockTrainer:
    """What Tunix's trainer changes, as a stage session saves it."""

    cluster: RLCluster

    def _state(self) -> dict[str, Any]:
        trainer = self.cluster.actor_trainer
        return {"adapter": nnx.state(trainer.model, nnx.LoRAParam), "optimizer": nnx.state(trainer.optimizer)}

    def snapshot(self) -> dict[str, np.ndarray]:
        return named(self._state())

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        held = restored(self._state(), arrays)
        nnx.update(self.cluster.actor_trainer.model, held["adapter"])
        nnx.update(self.cluster.actor_trainer.optimizer, held["optimizer"])

    def masters(self) -> dict[str, np.ndarray]:
        """The adapter in float32. (It is all there is: Tunix keeps no masters.)"""
        flat = nnx.to_flat_state(self._state()["adapter"])
        return {dotted(path): np.array(leaf.get_value(), np.float32) for path, leaf in flat}


def stock_grpo(
    model: Gemma,
    tokenizer: Tokenizer,
    draws: Draws,
    config: Grpo,
    mix: Mix,
    seed: int,
    instruction: str,
    on_step: OnStep,
    session: StageSession | None = None,
    judge: Judge | None = None,
    timer: PhaseTimer | None = None,
) -> int:
    """What `grpo.grpo` does, by Tunix's GRPOLearner; the same arguments, returns and errors. Of an update nothing is
    reported but the rate."""
    rows_with_one_prompt(config, device_mesh().size)
    place(model, device_mesh())  # RLCluster would copy a model that is not on its mesh, and train the copy
    session, timer = session or StageSession(config.steps), timer or PhaseTimer()
    session.shrinks = False  # the rates are in the compiled step
    rollout = ROLLOUTS[config.rollout](model, tokenizer)
    source = GroupSource(rollout, draws, config, mix, tokenizer, instruction, seed, judge, timer)
    drawn = Drawn()
    rates = [session.schedule.rate(config.learning_rate, config.warmup, k) for k in range(config.steps + 1)]
    cluster = RLCluster(
        actor=model,
        reference=_copy(model) if config.beta else None,
        tokenizer=AsTunixAsks(tokenizer),
        cluster_config=cluster_config(config, rates, partial(HandedIn, drawn, tokenizer)),
    )
    trainer = StockTrainer(cluster)
    session.begin(trainer, save=True)
    if session.start < session.schedule.steps:
        learner = GRPOLearner(cluster, stock_config(config), reward_fns=_scores_of(drawn))
        learner.train(_batches(source, drawn, instruction, session, trainer, rates, on_step))
        listen()
    session.close()
    return session.schedule.steps


def stock_config(config: Grpo) -> StockConfig:
    """Tunix's algorithm settings for ours."""
    return StockConfig(
        num_generations=config.group,
        beta=config.beta,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon if config.epsilon_high is None else config.epsilon_high,
        loss_agg_mode=LOSS_MEANS[config.loss],
        loss_algo="gspo-token" if config.loss == "gspo" else "grpo",
        advantage_estimator=ESTIMATORS[config.advantage],
        kl_loss_mode="low_var_kl",  # with Tunix's default, new - reference, beta has no gradient on average
    )


def cluster_config(config: Grpo, rates: Sequence[float], rollout: Any) -> ClusterConfig:
    """Everything on all devices; AdamW without decay and clipped gradients as in `optimizer.py`, but in the adapter's
    own dtype, at the rate of each step."""
    table = jnp.asarray(rates, jnp.float32)
    adam = optax.adam(lambda count: table[jnp.minimum(count, len(table) - 1)], b1=0.9, b2=0.99)
    return ClusterConfig(
        role_to_mesh=dict.fromkeys((Role.ACTOR, Role.REFERENCE, Role.ROLLOUT), device_mesh()),
        rollout_engine=rollout,
        training_config=RLTrainingConfig(
            eval_every_n_steps=10**9,
            max_steps=config.steps + 1,  # so that it asks for one batch more, and the last step is reported
            actor_optimizer=optax.chain(optax.clip_by_global_norm(1.0), adam),
            mini_batch_size=config.prompts,
            train_micro_batch_size=config.micro_prompts or config.prompts,
            rollout_micro_batch_size=config.prompts,
            compute_logps_micro_batch_size=config.prompts,
        ),
        rollout_config=RolloutConfig(
            max_tokens_to_generate=config.max_tokens,
            temperature=config.temperature,
            kv_cache_size=config.max_tokens + 1024,
        ),
    )


def _copy(model: Gemma) -> Gemma:
    """The policy as it is now; the base's arrays are shared."""
    graph, adapter, rest = nnx.split(model, nnx.LoRAParam, ...)
    return nnx.merge(graph, jax.tree.map(jnp.copy, adapter), rest)


def _scores_of(drawn: Drawn) -> Callable[..., list[float]]:
    def scores(prompts: Any, completions: Any, mode: Any = None, trajectory_ids: Any = None) -> list[float]:
        """The totals of the groups that were handed in. Tunix takes what is no number for 0."""
        assert drawn.groups is not None
        return [np.nan if s.total is None else s.total for group in drawn.groups.scores for s in group]

    return scores


def _batches(
    source: GroupSource,
    drawn: Drawn,
    instruction: str,
    session: StageSession,
    trainer: StockTrainer,
    rates: Sequence[float],
    on_step: OnStep,
) -> Iterator[dict[str, Any]]:
    """Tunix's data set: the prompts of a step. Tunix asks for them when the step before has been learned from, which
    is when that one is recorded and saved."""

    def learned() -> None:
        groups = drawn.groups
        assert groups is not None
        graded = [g for group in groups.graded for g in group]
        scores = [s for group in groups.scores for s in group]
        values = {"learning_rate": rates[drawn.step], "skipped": 0.0}
        on_step(drawn.step + 1, drawn.metrics | values | measured(graded, scores), graded, scores)
        with source.timer.phase("checkpoint"):
            session.after(drawn.step + 1, trainer.snapshot)

    for step in session.steps():
        if drawn.groups is not None:
            learned()
        drawn.step = step
        drawn.groups, drawn.metrics = source.groups(step)
        yield {"prompts": np.array([prompt(t, instruction).text for t in drawn.groups.tasks], dtype=object)}
    learned()

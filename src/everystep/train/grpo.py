"""Group relative policy optimisation: Tunix's GRPOLearner with our rollout, rewards, loss and data.

One step: prompts from the mixture, a group of completions for each, graded and scored on the host, one update
of the adapter. Left to the caller: which tasks, where metrics and records go, and when to stop.

The loss is in `loss.py`, the groups and their advantages in `groups.py`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from everystep.core.recipe import Grpo
from everystep.core.trace import prompt
from everystep.core.types import Graded, Score, Stop, Task
from everystep.data.difficulty import Draws
from everystep.model.decode import left_pad, prompt_length
from everystep.model.gemma import Gemma
from everystep.model.mesh import device_mesh, fetch, place
from everystep.model.rollout import Rollout
from everystep.model.tokenizer import Tokenizer
from everystep.model.workers import Workers, worker_count
from everystep.score.judge import Judge
from everystep.score.mix import Mix
from everystep.train.engine import keep_base, restore, skipped, snapshot, trained_adapter
from everystep.train.groups import Groups, advantages, parted, refilled, sample_groups, spare, step_seed
from everystep.train.loss import LOSS, Examples, reference
from everystep.train.optimizer import adapter_optimizer
from everystep.train.stage_session import StageSession
from everystep.train.timing import Ledger

_BUCKET = 32  # completions are padded to multiples of this, so that few shapes are compiled

OnStep = Callable[[int, dict[str, float], list[Graded], list[Score]], None]


class Learner(GRPOLearner):
    """GRPOLearner whose rollout, rewards and examples are ours. The attributes are set once by `grpo`."""

    tokenizer: Tokenizer
    how: Grpo
    start: int
    seed: int
    instruction: str
    mix: Mix
    judge: Judge | None
    draws: Draws
    ledger: Ledger
    shared: int
    reference: Callable[[Any, Any], Array]
    side_by_side: Workers
    on_groups: Callable[[int, Groups, dict[str, float]], None]

    def _generate_and_compute_advantage(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, training_input: Any, mode: Any = None
    ) -> Examples:
        """Called by Tunix once a step, when the step before has been learned from. The tasks are drawn here,
        not in the data set, which Tunix reads ahead: what is drawn depends on how the last groups went."""
        step = self.start + self.rl_cluster.global_steps
        prompts = self.how.prompts
        tasks = self.draws.draw(step, 0, prompts)
        expected = self.draws.expected(step, tasks)
        # The first refill is drawn ahead: one batch of twice the rows costs less than two.
        if self.how.refill:
            count = spare(self.draws.dead, prompts, self.how.group)
            tasks = tasks + (self.draws.draw(step, 1, count, {t.id for t in tasks}) if count else [])
        whole = self._sample(tasks, step, 0)
        dead, drawn, seen = len(whole.dead()) / len(tasks), [len(tasks)], {t.id for t in tasks}
        self.draws.died(dead)
        groups, ahead = parted(whole, prompts)

        def more(round_: int, count: int) -> Groups:
            if round_ == 1 and ahead.tasks:
                return ahead
            fresh = self.draws.draw(step, round_, count, seen)
            seen.update(t.id for t in fresh)
            drawn.append(len(fresh))
            return self._sample(fresh, step, round_) if fresh else Groups([], [], [], [])

        if self.how.refill:
            groups = refilled(groups, more)
        examples = self._examples(groups)
        self.on_groups(
            step,
            groups,
            {
                "dead_groups": dead,
                "live": 1 - len(groups.dead()) / len(groups.tasks),
                "drawn": float(sum(drawn)),
                "expected_mixed": expected,
                "solved": self.draws.solved(),
            },
        )
        return examples

    def _sample(self, tasks: Sequence[Task], step: int, round_: int) -> Groups:
        rollout: Any = self.rl_cluster.rollout
        groups = sample_groups(
            rollout.sample,
            tasks,
            self.how,
            self.mix,
            self.tokenizer,
            instruction=self.instruction,
            seed=step_seed(self.seed, step, round_),
            judge=self.judge,
            ledger=self.ledger,
        )
        for task, group in zip(groups.tasks, groups.graded, strict=True):
            self.draws.saw(step, task, sum(g.contract for g in group), len(group))
        return groups

    def _process_accumulated_batches(self, micro_batches: Any, micro_batch_sizes: Any, mode: Any) -> list[Any]:
        """Tunix's micro-batches of a step in their parts, each cut to its own longest completion."""
        whole: list[Any] = super()._process_accumulated_batches(
            micro_batches=micro_batches, micro_batch_sizes=micro_batch_sizes, mode=mode
        )
        return [tuple(_trimmed(x, part) for part in self._parts(len(x.prompt_ids))) for x in whole]

    def _parts(self, rows: int) -> list[slice]:
        """The parts of so many rows that are computed side by side, each with whole groups."""
        return self.side_by_side.parts(rows, units=rows // self.shared)

    def _examples(self, groups: Groups) -> Examples:
        """The step's rows, group by group, groups with short completions first, so that a micro-batch holds
        rows of similar length."""
        size, pad = self.how.group, self.tokenizer.pad
        order = np.argsort([max(len(r.tokens) for r in rows) for rows in groups.rows], kind="stable")
        rows = [row for i in order for row in groups.rows[i]]
        prompts = [self.tokenizer.encode_prompt(prompt(groups.tasks[i], self.instruction).text) for i in order]
        left = np.repeat(left_pad(prompts, prompt_length(prompts), pad), size, axis=0)
        lengths = np.array([len(r.tokens) for r in rows])
        completion = np.full((len(rows), _bucket(lengths.max())), pad, np.int32)
        old = np.zeros(completion.shape, np.float32)
        for i, row in enumerate(rows):
            completion[i, : len(row.tokens)] = row.tokens
            old[i, : len(row.tokens)] = row.logprobs
        mask = np.arange(completion.shape[1]) < lengths[:, None]
        micros = self.how.prompts // (self.how.micro_prompts or self.how.prompts)
        reference = old.copy()
        with self.ledger.phase("reference"):
            each = np.split(np.arange(len(rows)), micros) if self.how.beta else []
            parts = [micro[part] for micro in each for part in self._parts(len(micro))]
            some = [np.s_[part, : _bucket(lengths[part].max())] for part in parts]
            begun = self.side_by_side.each(lambda upto: self.reference(left[upto[0]], completion[upto]), some)
            for upto, found in zip(some, begun, strict=True):
                reference[upto] = fetch(found)
        gains = advantages(groups.scores, self.mix.floor).reshape(-1, size)[order].reshape(-1)
        make: Any = Examples  # type checkers do not see the fields that flax's dataclass inherits
        return make(
            prompt_ids=jnp.asarray(left),
            prompt_mask=jnp.asarray(left != pad),
            completion_ids=jnp.asarray(completion),
            completion_mask=jnp.asarray(mask),
            advantages=jnp.asarray(gains),
            ref_per_token_logps=jnp.asarray(reference),
            old_per_token_logps=jnp.asarray(old),
            weight=jnp.asarray(mask * np.float32(micros / mask.sum())),
            size=self.shared,
        )


def _bucket(length: Any) -> int:
    return -(-int(length) // _BUCKET) * _BUCKET


def _trimmed(x: Any, part: slice) -> Any:
    """A part of the examples without the columns in which no row has a token."""
    last = _bucket(np.asarray(x.completion_mask)[part].sum(axis=1).max())
    wide = ("completion_ids", "completion_mask", "ref_per_token_logps", "old_per_token_logps", "weight")
    rows = {name: getattr(x, name)[part] for name in ("prompt_ids", "prompt_mask", "advantages")}
    return x.replace(**rows, **{name: getattr(x, name)[part, :last] for name in wide})


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
    draws: Draws,
    how: Grpo,
    mix: Mix,
    seed: int,
    instruction: str,
    on_step: OnStep,
    session: StageSession | None = None,
    judge: Judge | None = None,
    ledger: Ledger | None = None,
) -> int:
    """Train the model's adapter in place, from where the session begins, against the adapter it comes with; the
    number of steps made in all.

    `draws` says which tasks a step has. `on_step(step, metrics, graded, scores)` after each update, steps
    counted from 1; what it raises ends the training, the step unsaved. Raises Stopped where the session ends
    before the stage does.
    """
    if how.prompts % (how.micro_prompts or how.prompts):
        raise ValueError(
            f"grpo.micro_prompts is {how.micro_prompts}, which does not divide grpo.prompts, {how.prompts}"
        )
    mesh = device_mesh()
    size = rows_with_one_prompt(how, mesh.size)
    # Here, since RLCluster would make a copy of a model that is not on its mesh, and then the caller's model
    # and the trained one would be two.
    place(model, mesh)
    session = session or StageSession(how.steps)
    config = ClusterConfig(
        role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
        rollout_engine=Rollout,
        training_config=RLTrainingConfig(
            eval_every_n_steps=10**9,
            max_steps=how.steps,
            actor_optimizer=adapter_optimizer(),
            mini_batch_size=how.prompts,
            train_micro_batch_size=how.micro_prompts or how.prompts,
            rollout_micro_batch_size=how.prompts,
            compute_logps_micro_batch_size=how.prompts,
            max_inflight_computations=0,  # Tunix would wait for every micro-batch; see `_Report.after`
        ),
        rollout_config=RolloutConfig(
            max_tokens_to_generate=how.max_tokens,
            temperature=how.temperature,
            kv_cache_size=how.max_tokens + 1024,
        ),
    )
    reference_ = reference(model, size, tokenizer.pad, how.temperature)
    cluster = RLCluster(actor=model, reference=None, tokenizer=_Adapter(tokenizer), cluster_config=config)
    cluster._anchor_policy_state = None  # a second copy of the model that only Tunix's agents read
    # It would keep every prompt and completion as strings; ours are in the records.
    cluster.buffer_metrics = lambda *_, **__: None
    assert cluster.actor_trainer.model is model
    trainer: Any = cluster.actor_trainer
    learner = Learner(
        cluster,
        GRPOConfig(
            num_generations=how.group,
            beta=how.beta,
            epsilon=how.epsilon,
            kl_loss_mode="low_var_kl",
            policy_loss_fn=LOSS,
        ),
        reward_fns=_never,
    )
    learner.tokenizer, learner.how, learner.seed = tokenizer, how, seed
    learner.instruction, learner.mix, learner.draws = instruction, mix, draws
    learner.shared = size
    learner.judge, learner.reference, learner.start = judge, reference_, session.start
    learner.ledger = ledger or Ledger()
    learner.side_by_side = Workers(worker_count(nnx.state(model)))
    report = _Report(learner, how, session, on_step)
    keep_base(trainer, report.rate, learner.ledger, learner.side_by_side)
    if session.resumed:
        restore(trainer, session.resumed.arrays)
        report.skipped = skipped(trainer)
    session.adapter = lambda: trained_adapter(trainer)
    session.begin(lambda: snapshot(trainer))
    learner.on_groups = report.groups
    trainer._post_process_train_step = report.after
    learner.train(_steps(how, session), skip_jit=True)
    session.close()
    return session.horizon.steps


def rows_with_one_prompt(how: Grpo, devices: int) -> int:
    """For how many rows of a micro-batch a prompt is computed once: the group, where each device has whole
    groups. Raises ValueError where the devices do not even have equally many rows."""
    prompts = how.micro_prompts or how.prompts
    if prompts * how.group % devices:
        raise ValueError(
            f"grpo: {prompts} prompts x group {how.group} cannot be spread over {devices} devices; make "
            f"grpo.micro_prompts (or grpo.prompts without it) a multiple of {devices}"
        )
    return 1 if prompts % devices else how.group


def _never(prompts: Any, completions: Any, trajectory_ids: Any = None) -> list[float]:
    """Tunix wants a reward function; ours are scored as groups in `_sample`, and this must never be asked."""
    raise AssertionError("rewards come from score_groups")


def _steps(how: Grpo, session: StageSession) -> Iterator[dict[str, Any]]:
    """Tunix's data set: as many prompts a step as it has; the learner draws the tasks themselves."""
    for step in range(session.start, how.steps):
        if step >= session.horizon.steps:  # the plan can shrink while it runs
            return
        yield {"prompts": np.array([""] * how.prompts, dtype=object)}


class _Report:
    """Joins what the rollout saw and what the update measured into one report per step."""

    def __init__(self, learner: Learner, how: Grpo, session: StageSession, on_step: OnStep):
        self.learner, self.how, self.session, self.on_step = learner, how, session, on_step
        self.step = session.start
        self.micros = how.prompts // (how.micro_prompts or how.prompts)
        # Of the parts of the step's micro-batches; they may still be computed.
        self.seen: list[list[dict[str, Array]]] = []
        self.skipped = 0.0
        self.pending: tuple[int, Groups, dict[str, float]] | None = None

    def rate(self) -> float:
        return self.session.horizon.rate(self.how.learning_rate, self.how.warmup, self.step)

    def newly_skipped(self) -> float:
        """How many gradients of this step were thrown away because they were not finite."""
        trainer: Any = self.learner.rl_cluster.actor_trainer
        before, self.skipped = self.skipped, skipped(trainer)
        return self.skipped - before

    def groups(self, step: int, groups: Groups, metrics: dict[str, float]) -> None:
        self.pending = (step, groups, metrics)

    def after(self, aux: list[dict[str, Array]]) -> None:
        self.seen.append(aux)
        with self.learner.ledger.phase("update"):  # dispatched before; this waits for it
            # A device always has the next micro-batch, and never the memory of more than two.
            jax.block_until_ready(self.seen[-2:-1])
        if len(self.seen) < self.micros:
            return
        with self.learner.ledger.phase("update"):
            seen = [_whole(parts) for parts in self.seen]
        assert self.pending is not None
        step, groups, metrics = self.pending
        graded = [g for group in groups.graded for g in group]
        scores = [s for group in groups.scores for s in group]
        metrics = metrics | {k: float(np.mean([s[k] for s in seen])) for k in seen[0]}
        metrics["learning_rate"] = self.rate()
        metrics["skipped"] = self.newly_skipped()
        metrics["reward"] = _mean([s.total for s in scores])
        for name in scores[0].parts:
            metrics[f"reward/{name}"] = _mean([s.parts[name] for s in scores])
            metrics[f"coverage/{name}"] = float(np.mean([s.parts[name] is not None for s in scores]))
        metrics |= judged(graded, scores)
        metrics["contract"] = float(np.mean([g.contract for g in graded]))
        metrics["format"] = float(np.mean([not g.trace.faults for g in graded]))
        metrics["tokens"] = float(np.mean([len(g.completion.tokens) for g in graded]))
        metrics["truncated"] = float(np.mean([g.completion.stop is Stop.LENGTH for g in graded]))
        self.seen.clear()
        self.step = step + 1
        self.on_step(step + 1, metrics, graded, scores)
        trainer: Any = self.learner.rl_cluster.actor_trainer
        with self.learner.ledger.phase("checkpoint"):
            self.session.after(step + 1, lambda: snapshot(trainer))


def _whole(parts: Sequence[dict[str, Array]]) -> dict[str, float]:
    """A micro-batch's values from its parts': all are sums over its tokens but the largest disagreement."""
    return {name: (max if name == "disagreement" else sum)(float(part[name]) for part in parts) for name in parts[0]}


def judged(graded: Sequence[Graded], scores: Sequence[Score]) -> dict[str, float]:
    """Where a judge is asked, the share of the completions in form that it has scored: about others it is not
    asked. NaN where none is in form."""
    parts = [name for name in scores[0].parts if name.startswith("judge/")]
    asked = [s for g, s in zip(graded, scores, strict=True) if not g.trace.faults]
    return {"judged": _mean([float(any(s.parts[p] is not None for p in parts)) for s in asked])} if parts else {}


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else math.nan

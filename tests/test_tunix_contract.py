"""What is relied on of Tunix, each by itself, so that another version of it fails here and says with what; and its own
learner against our loop."""

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tunix.models.gemma3.model import AttentionType, Gemma3, ModelConfig, RematConfig
from tunix.rl import common, function_registry
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import BaseRollout, RolloutConfig, RolloutOutput
from tunix.sft.checkpoint_manager import CheckpointManager
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from everystep.core.recipe import Grpo
from everystep.core.types import Graded, Score
from everystep.data.difficulty import Draws
from everystep.model.lora import adapter
from everystep.score.mix import Mix
from everystep.score.rewards import PARTS
from everystep.train.advantages import advantages
from everystep.train.grpo import grpo
from everystep.train.tunix import ESTIMATORS, LOSS_MEANS, StockConfig, stock_config, stock_grpo
from model_fixtures import INSTRUCTION, TUNIX, lora, tasks, tokenizer

pytestmark = TUNIX


def fields(cls: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(cls)}


SETTINGS = {
    ClusterConfig: {"role_to_mesh", "rollout_engine", "training_config", "rollout_config"},
    RLTrainingConfig: {
        "eval_every_n_steps",
        "max_steps",
        "actor_optimizer",
        "mini_batch_size",
        "train_micro_batch_size",
        "rollout_micro_batch_size",
        "compute_logps_micro_batch_size",
    },
    RolloutConfig: {"max_tokens_to_generate", "temperature", "kv_cache_size"},
    RolloutOutput: {"text", "logits", "tokens", "left_padded_prompt_tokens", "logprobs"},
    GRPOConfig: {
        "num_generations",
        "beta",
        "epsilon",
        "loss_agg_mode",
        "loss_algo",
        "advantage_estimator",
        "kl_loss_mode",
    },
    TrainingConfig: {"eval_every_n_steps", "max_steps", "gradient_accumulation_steps"},
    ModelConfig: {"num_layers", "num_embed", "embed_dim", "hidden_dim", "num_heads", "head_dim", "num_kv_heads"},
}
CALLS = {
    RLCluster: {"actor", "reference", "tokenizer", "cluster_config"},
    GRPOLearner: {"rl_cluster", "algo_config", "reward_fns"},
    GRPOLearner.train: {"train_ds"},
    PeftTrainer: {"model", "optimizer", "training_config"},
    PeftTrainer.with_loss_fn: {"loss_fn", "has_aux"},
    BaseRollout.generate: {"prompts", "rollout_config"},
    CheckpointManager: {"root_directory", "options"},
    Gemma3.__call__: {"positions", "cache", "attention_mask"},
}


@pytest.mark.parametrize("cls", SETTINGS, ids=lambda c: c.__name__)
def test_settings_have_these_names(cls: Any) -> None:
    assert SETTINGS[cls] <= fields(cls)


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.__qualname__)
def test_calls_take_these_arguments(call: Any) -> None:
    assert CALLS[call] <= set(inspect.signature(call).parameters)


def test_a_rollout_has_these_methods() -> None:
    wanted = {"__init__", "generate", "get_per_token_logps", "update_params", "pad_id", "eos_id", "model"}
    assert set(BaseRollout.__abstractmethods__) <= wanted


def test_models_have_these_parts() -> None:
    assert {"NONE", "DECODER"} <= set(RematConfig.__members__)
    assert {"GLOBAL", "LOCAL_SLIDING"} <= set(AttentionType.__members__)
    assert {"ACTOR", "REFERENCE", "ROLLOUT"} <= set(Role.__members__)


def test_its_losses_and_estimators_go_by_these_names() -> None:
    assert callable(function_registry.get_policy_loss_fn("grpo"))
    loss, mask = jnp.arange(6.0).reshape(2, 3), jnp.array([[1, 1, 0], [1, 0, 0]])
    means = {name: float(common.aggregate_loss(loss, mask, mode)) for name, mode in LOSS_MEANS.items()}
    assert means == pytest.approx({"grpo": 1.75, "gspo": 1.75, "dapo": 4 / 3, "dr_grpo": 2 / 3})
    with pytest.raises(ValueError, match="Unsupported"):
        common.aggregate_loss(loss, mask, "no such mean")


@pytest.mark.parametrize("ours", ESTIMATORS)
def test_its_estimators_are_our_advantages(ours: str) -> None:
    """But for "group", whose deviation Tunix takes with one degree of freedom less, and without a floor."""
    totals = np.array([1.0, 0.0, 0.5, 0.25, 3.0, 1.0, 1.0, 2.0])
    theirs = function_registry.get_advantage_estimator(ESTIMATORS[ours])(rewards=totals, num_generations=4)
    groups = [[Score("t", i, {}, float(x)) for i, x in enumerate(totals[at : at + 4])] for at in (0, 4)]
    scale = (3 / 4) ** 0.5 if ours == "group" else 1.0
    np.testing.assert_allclose(np.asarray(theirs), scale * advantages(groups, kind=ours), rtol=1e-4)


def test_epsilon_high_is_looked_for_by_name() -> None:
    """Its settings do not declare it; its loss reads it all the same."""
    assert "epsilon_high" in fields(StockConfig)
    assert "epsilon_high" in inspect.getsource(function_registry.get_policy_loss_fn("grpo"))


def test_accumulation_is_a_mean_in_float32() -> None:
    steps = optax.MultiSteps(optax.sgd(1.0), 2)
    state: Any = steps.init(jnp.zeros(1))
    assert state.acc_grads.dtype == jnp.float32
    trainer = PeftTrainer(
        lora(layers=2), optax.sgd(1.0), TrainingConfig(eval_every_n_steps=1, gradient_accumulation_steps=2)
    )
    assert "acc_grads" in {
        path[-1] if len(path) < 3 else path[1] for path, _ in nnx.to_flat_state(nnx.state(trainer.optimizer))
    }


def test_a_trainer_that_closes_takes_the_listeners_of_the_process_off() -> None:
    """Where it no longer does, `stock_grpo` must not put ours on again: compilation would be counted twice."""
    heard: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **about: heard.append(event))
    PeftTrainer(lora(layers=2), optax.sgd(1.0), TrainingConfig(eval_every_n_steps=1)).close()
    heard.clear()
    jax.monitoring.record_event_duration_secs("anything", 1.0)
    assert not heard


def letters(graded: Graded) -> float:
    return len(set(graded.completion.text)) / 10


def one_step(engine: Any, config: Grpo) -> tuple[dict[str, np.ndarray], list[Any]]:
    model, seen = lora(seed=8, moved=True, layers=2), []
    draws = Draws({"worked": tasks()[:6]}, {"worked": 1.0}, config.prompts, config.group, 0)
    mix = Mix({"letters": 1.0})
    engine(model, tokenizer(), draws, config, mix, 0, INSTRUCTION, lambda *step: seen.append(step))
    return adapter(model), seen


@pytest.mark.parametrize(
    ("loss", "advantage", "micro"), [("dapo", "dr_grpo", None), ("grpo", "rloo", 2), ("dr_grpo", "dr_grpo", None)]
)
def test_one_step_of_both_engines_leaves_the_same_adapter(
    monkeypatch: pytest.MonkeyPatch, loss: str, advantage: str, micro: int | None
) -> None:
    monkeypatch.setitem(PARTS, "letters", letters)
    config = Grpo.model_validate(
        {"steps": 1, "prompts": 4, "group": 4, "micro_prompts": micro, "loss": loss, "advantage": advantage}
        | {"learning_rate": 5e-3, "warmup": 0.0, "beta": 0.05, "max_tokens": 16}
    )
    before = adapter(lora(seed=8, moved=True, layers=2))
    (ours, a), (stock, b) = one_step(grpo, config), one_step(stock_grpo, config)
    assert [g.completion.tokens for g in a[0][2]] == [g.completion.tokens for g in b[0][2]]
    assert [s.total for s in a[0][3]] == [s.total for s in b[0][3]] and a[0][0] == b[0][0] == 1
    assert max(float(np.abs(stock[k] - before[k]).max()) for k in stock) > 1e-3
    for name in ours:
        np.testing.assert_allclose(stock[name], ours[name], atol=1e-5, err_msg=name)


def test_the_stock_engine_is_asked_for_what_the_recipe_says() -> None:
    config = stock_config(Grpo(loss="gspo", advantage="rloo", epsilon=0.1, group=6))
    assert (config.loss_algo, config.advantage_estimator, config.num_generations) == ("gspo-token", "rloo", 6)
    assert (config.epsilon, config.epsilon_high, config.kl_loss_mode) == (0.1, 0.1, "low_var_kl")

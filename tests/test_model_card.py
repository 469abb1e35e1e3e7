"""Laws of model cards: figures are the run's, with intervals; what is unknown is said; no place is named."""

from pathlib import Path

import pytest
import yaml

from everystep.core.files import read_json, write_json
from everystep.core.recipe import resolve
from everystep.core.run import Run, open_run
from everystep.ship.model_card import NOTICE, model_card, of_gemma
from export_fixtures import recipe_on
from run_fixtures import RECIPE, finished

KINDS = ("hf", "peft", "tunix")


def parts(card: str) -> tuple[dict[str, object], str]:
    _, head, text = card.split("---\n", 2)
    return yaml.safe_load(head), text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = finished(tmp_path_factory.mktemp("run") / "run", n=12, steps=2)
    stages = {s: read_json(made.evaluation_summary("test", s)) for s in ("base", "sft", "grpo")}
    pair = {"p": 0.5, "gained": 3, "lost": 1, "difference": 0.125, "low": -0.25, "high": 0.5}
    write_json(made.summary, {"stages": stages, "paired": {"sft_vs_base": pair, "grpo_vs_sft": pair}})
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_figures_are_the_run_s_with_their_intervals(run: Run, kind: str) -> None:
    head, text = parts(model_card(RECIPE, run, "grpo", kind, 5))
    own = read_json(run.evaluation_summary("test", "grpo"))
    for name, key in (("right in form", "contract"), ("right in any form", "capability")):
        rate = own[key]
        assert f"{name} {rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]" in text
    assert "| grpo | 12 |" in text and "sft → grpo: contract +12.5 points [-25.0, +50.0]" in text
    assert "GRPO: 2 steps in 5 minutes" in text and "learning_rate: 0.0005" in text
    assert head["license"] == "apache-2.0" and head["pipeline_tag"] == "text-generation"
    assert ("actor/5/model_params" in text) == (kind == "tunix")
    assert ("PeftModel" in text) == (kind == "peft")


def test_an_earlier_stage_is_not_credited_with_a_later_one(run: Run) -> None:
    text = parts(model_card(RECIPE, run, "sft", "hf", 20))[1]
    assert "| sft |" in text and "| grpo |" not in text and "sft → grpo" not in text
    sft, grpo = (read_json(run.evaluation_summary("test", s))["contract"]["value"] for s in ("sft", "grpo"))
    assert f"right in form {sft:.1%}" in text and (sft == grpo or f"right in form {grpo:.1%}" not in text)


def test_what_was_not_measured_is_said_to_be_unknown(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", RECIPE) as bare:
        text = parts(model_card(RECIPE, bare, "sft", "hf", 0))[1]
        assert "no finished evaluation" in text and "%]" not in text
        write_json(bare.summary, {"stages": {"base": {}}, "paired": {}})
        assert "no evaluation of this stage" in model_card(RECIPE, bare, "sft", "hf", 0)


def test_gemma_s_terms_go_along_and_places_do_not(run: Run, tmp_path: Path) -> None:
    for name in ("google/gemma-3-1b-it", str(tmp_path / "gemma-3-1b-it")):
        recipe = recipe_on(name)
        head, text = parts(model_card(recipe, run, "grpo", "peft", 5))
        assert of_gemma(recipe) and head["license"] == "gemma" and NOTICE.strip() in text
        assert head.get("base_model") == (name if name.startswith("google") else None)
        assert str(tmp_path) not in text and "gemma-3-1b-it" in text
    assert not of_gemma(RECIPE)
    said = parts(model_card(RECIPE, run, "grpo", "hf", 5))[1]
    block = yaml.safe_load(said.split("```yaml\n")[1].split("```")[0])
    assert block["grpo"] == resolve(RECIPE)["grpo"]

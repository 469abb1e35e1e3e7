"""The model card of an export: what the model is, what was measured, how to ask it, and under which terms.

Made from the run directory alone. What was not measured is said to be unknown. Where the card goes, and the
files it belongs to, are `ship/export.py`'s business.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import yaml

from everystep.core.files import read_json
from everystep.core.provenance import without_places
from everystep.core.recipe import Recipe, resolve
from everystep.core.run import Run
from everystep.core.trace import INSTRUCTIONS
from everystep.evaluate.table import markdown

# What Google's Gemma Terms of Use (section 3.1) ask of whoever passes a model on, in a file of its own.
NOTICE = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms\n"
_SECTIONS = ("model", "data", "sft", "grpo", "reward", "evaluate")
_FORMATS = {
    "hf": "the whole model, the adapter merged into its weights, for `transformers` and what reads its files",
    "peft": "a LoRA adapter for `peft`, to be put on the base model",
    "tunix": "a LoRA checkpoint of Tunix (`actor/<step>/model_params`), for the base with LoRA",
}
_RATES = {"contract": "right in form", "capability": "right in any form", "format": "well-formed"}
_LIBRARY = {"hf": "transformers", "peft": "peft", "tunix": "tunix"}
_TURN = """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained({source}, attn_implementation="eager")
{adapter}instruction = {instruction!r}
chat = [{{"role": "user", "content": instruction + "A pen costs 3 dollars. What do 4 pens cost?"}}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**ids, max_new_tokens={tokens}, do_sample=False)
print(tokenizer.decode(out[0][ids["input_ids"].shape[1]:], skip_special_tokens=True))
"""
_TUNIX = """# `model`: the base with qwix.LoraProvider(module_path=..., rank={rank}, alpha={alpha}) applied
path = "FOLDER/actor/{step}/model_params"
target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), nnx.state(model, nnx.LoRAParam))
nnx.update(model, ocp.StandardCheckpointer().restore(path, target=target))
"""


def of_gemma(recipe: Recipe) -> bool:
    """Whether Gemma's terms hold for what a recipe trains: for every base but the shipped one."""
    return recipe.model.name != "tiny"


def model_card(recipe: Recipe, run: Run, stage: str, kind: str, step: int) -> str:
    """The card of the model after `stage`, in the format `kind` ("hf", "peft", "tunix"), as Markdown."""
    base = _plain(recipe.model.name)
    head: dict[str, Any] = {"license": "gemma" if of_gemma(recipe) else "apache-2.0"}
    if of_gemma(recipe) and base.count("/") == 1:
        head["base_model"] = base
    head |= {
        "library_name": _LIBRARY[kind],
        "pipeline_tag": "text-generation",
        "tags": ["gemma", "reasoning", "everystep", stage],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {recipe.name}, after {stage.upper()}",
        f"`{base}`, trained with everystep to show its work: numbered steps between `<reasoning>` and "
        f"`</reasoning>`, the answer between `<answer>` and `</answer>`. These files are {_FORMATS[kind]}. "
        "The weights differ from the base's: this is a modified model.",
        f"## Results\n\n{_results(run, stage)}",
        f"## How to ask it\n\n{_asking(recipe, kind, step)}",
        f"## Training\n\n{_training(recipe, run)}",
        f"## Limits\n\n{_limits(recipe)}",
        f"## Licence\n\n{_licence(recipe)}",
    ]
    return "\n\n".join(parts) + "\n"


def _results(run: Run, stage: str) -> str:
    if not run.summary.is_file():
        return "This run holds no finished evaluation: how good the model is, is not known."
    found: Mapping[str, Any] = read_json(run.summary)
    stages = list(found["stages"])
    if stage not in stages:
        return "This run holds no evaluation of this stage: how good the model is, is not known."
    shown = stages[: stages.index(stage) + 1]
    pairs = {
        (a, b): found["paired"][f"{b}_vs_{a}"] for a, b in itertools.pairwise(shown) if f"{b}_vs_{a}" in found["paired"]
    }
    table = markdown({s: found["stages"][s] for s in shown}, pairs)
    own = found["stages"][stage]
    rates = "; ".join(f"{name} {_rate(own[key])}" for key, name in _RATES.items())
    return (
        f"On {own['n']} test tasks of the run, greedy: {rates}.\n\n{table.strip()}\n\n"
        "`contract`: right, in exactly the agreed form; `capability`: right for a forgiving reader; `sound`: "
        "right with no false claim on the way; intervals are Wilson's at 95 %. One seed: what another "
        "one would change is not in these intervals."
    )


def _rate(rate: Mapping[str, float]) -> str:
    return f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"


def _asking(recipe: Recipe, kind: str, step: int) -> str:
    lora = recipe.model.lora
    if kind == "tunix":
        code = _TUNIX.format(rank=lora.rank, alpha=lora.alpha, step=step)
        scale = f"The scale, alpha / rank = {lora.alpha / lora.rank:g}, is in none of its files."
        return f"```python\n{code}```\n\n{scale}"
    adapter = 'model = PeftModel.from_pretrained(model, "FOLDER")  # from peft import PeftModel\n'
    code = _TURN.format(
        source='"FOLDER"' if kind == "hf" else repr(_plain(recipe.model.name)),
        adapter=adapter if kind == "peft" else "",
        instruction=INSTRUCTIONS[recipe.model.prompt],
        tokens=recipe.evaluate.max_tokens,
    )
    said = "The instruction is the one it was trained with; with another it is another model."
    return f"```python\n{code}```\n\n{said}"


def _training(recipe: Recipe, run: Run) -> str:
    chosen = {k: v for k, v in resolve(recipe).items() if k in (*_SECTIONS, "seed")}
    rows = []
    for name in ("sft", "grpo"):
        done = run.done(name)
        if done and "steps" in done:
            kept = f", the adapter of step {done['kept']} kept" if "kept" in done else ""
            rows.append(f"- {name.upper()}: {done['steps']} steps in {done['minutes']:.0f} minutes{kept}")
    files = sorted(run.data.glob("*.jsonl"))
    if files:
        counts = ", ".join(f"{_lines(p)} {p.stem}" for p in files)
        rows.append(f"- Tasks: {counts}")
    text = yaml.safe_dump(_without_places(chosen), sort_keys=False, allow_unicode=True, default_flow_style=None)
    return "\n".join(rows) + f"\n\nThe recipe's values, defaults included:\n\n```yaml\n{text}```"


def _limits(recipe: Recipe) -> str:
    small = (
        " The base is a tiny model that knows some arithmetic in a few hundred words of English."
        if not of_gemma(recipe)
        else ""
    )
    return (
        "It answers short questions in English of the kinds it was trained on; on others its form may hold "
        "while its answers do not. Steps that read well can be wrong, and a right answer can stand below a "
        "wrong step: check claims, for instance with `everystep check`. Not for decisions about people." + small
    )


def _licence(recipe: Recipe) -> str:
    if of_gemma(recipe):
        return (
            f"{NOTICE.strip()} (and to its Prohibited Use Policy); passing this model on, you pass these "
            "terms on. If the base is none of Google's but your own, its licence takes the place of this."
        )
    return "Apache-2.0, as the package and the tiny model that it ships."


def _plain(name: str) -> str:
    return " ".join(without_places(name).replace("`", "'").split())


def _without_places(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _without_places(v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_without_places(v) for v in tree]
    return without_places(tree) if isinstance(tree, str) else tree


def _lines(path: Any) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)

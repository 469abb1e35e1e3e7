"""Exports read by the reference implementation: the merged folder by `transformers`, the adapter by `peft`
(or, where that is not installed, by its documented formula on the modules of `transformers`)."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from everystep.core.recipe import Recipe
from everystep.core.run import Run
from everystep.core.trace import INSTRUCTIONS, prompt
from everystep.core.types import Kind, Prompt, Sampling, Task
from everystep.model.io.load import load
from everystep.model.io.verify_export import reference
from everystep.model.lora import adapter, add_lora, save_adapter, set_adapter
from everystep.model.sampler import Policy, policy
from everystep.ship.export import export
from everystep.show.screen import Screen
from export_fixtures import recipe_on, trained
from model_files import gemma2_tokenizer_model
from model_fixtures import TUNIX, VOCABULARY, texts, tokenizer_model

torch: Any = pytest.importorskip("torch", reason="needs torch: pip install torch==2.13.0")

pytestmark = [*TUNIX, pytest.mark.slow]
NEW = 64
# Its default attention, `sdpa`, leaves out Gemma 2's cap on attention logits.
EXACT: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "sliding_window": 12,
    "max_position_embeddings": 512,
}


def gemma2() -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, num_hidden_layers=3, query_pre_attn_scalar=20))


def gemma3() -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    return Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, num_hidden_layers=6, query_pre_attn_scalar=16))


def gemma3_sees() -> Any:
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    text = Gemma3TextConfig(**SHAPE, num_hidden_layers=6, query_pre_attn_scalar=16)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    vision = SiglipVisionConfig(**sizes, image_size=28, patch_size=14)
    both: dict[str, Any] = {"text_config": text, "vision_config": vision}
    config = Gemma3Config(**both, mm_tokens_per_image=4, image_token_index=VOCABULARY - 1)
    return Gemma3ForConditionalGeneration(config)


MODELS = {"gemma2": gemma2, "gemma3": gemma3, "gemma3_sees": gemma3_sees}


def random_weights(model: Any) -> Any:
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for value in model.parameters():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(0.2 * noise if value.ndim == 1 else noise / value.shape[-1] ** 0.5)
    return model.eval()


@pytest.fixture(scope="module", params=MODELS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Their class, the base they wrote (in shards), the policy, and where its exports are."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    theirs, base = random_weights(MODELS[request.param]()), folder / "base"
    theirs.save_pretrained(base, max_shard_size="60KB")
    made = gemma2_tokenizer_model() if request.param == "gemma2" else tokenizer_model()
    (base / "tokenizer.model").write_bytes(made)
    recipe, run = recipe_on(base), trained(folder / "run", base)
    own = moved(base, recipe, run)
    export(recipe, run, folder / "out", Screen(quiet=True), formats=["hf", "peft"], shard_bytes=60_000)
    assert len(list((folder / "out" / "hf").glob("*.safetensors"))) > 1
    return type(theirs), base, own, folder / "out"


def moved(base: Path, recipe: Recipe, run: Run) -> Policy:
    """The policy of a run whose adapter was moved at random; the run's file is made to be that."""
    loaded, rng, lora = load(str(base)), np.random.default_rng(2), recipe.model.lora
    model = add_lora(loaded.model, lora.rank, lora.alpha, 0)
    found = adapter(model)
    set_adapter(model, {k: v + rng.normal(0, 0.1, v.shape).astype(v.dtype) for k, v in found.items()})
    save_adapter(run.adapter("grpo"), adapter(model), {})
    return policy(model, loaded.tokenizer)


def agrees(theirs: Any, own: Policy, base: Path) -> None:
    """Logits within 1e-4 at every token of some prompts, and the same greedy tokens."""
    prompts = [Prompt(str(i), text) for i, text in enumerate(texts(4))]
    want = reference(own, load(str(base)), prompts)
    assert want.effect > 0.05 and want.spread > 0.3
    at = 0
    greedy = own.sample(prompts, 1, Sampling(temperature=0.0, max_tokens=NEW))
    for p, (completion,) in zip(prompts, greedy, strict=True):
        ids = torch.tensor([own.tokenizer.encode_prompt(p.text)])
        with torch.no_grad():
            found = theirs(input_ids=ids).logits[0].numpy()
            made = theirs.generate(
                input_ids=ids,
                max_new_tokens=NEW,
                do_sample=False,
                suppress_tokens=[own.tokenizer.pad],
                eos_token_id=list(own.tokenizer.ends),
                pad_token_id=own.tokenizer.pad,
            )
        np.testing.assert_allclose(found, want.logits[at : at + len(found)], atol=1e-4, rtol=0)
        assert made[0, ids.shape[1] :].tolist() == list(completion.tokens)
        at += len(found)
    assert at == len(want.logits)


def test_transformers_reads_the_merged_folder(exported: Any) -> None:
    kind, base, own, out = exported
    theirs, about = kind.from_pretrained(out / "hf", output_loading_info=True, **EXACT)
    assert not any(about[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert sorted(theirs.generation_config.eos_token_id) == sorted(own.tokenizer.ends)
    agrees(theirs.eval(), own, base)


def test_peft_reads_the_adapter(exported: Any) -> None:
    kind, base, own, out = exported
    theirs = kind.from_pretrained(base, **EXACT).eval()
    if importlib.util.find_spec("peft"):
        from peft import PeftModel  # pyright: ignore[reportMissingImports]

        agrees(PeftModel.from_pretrained(theirs, out / "peft").eval(), own, base)
        return
    about = json.loads((out / "peft" / "adapter_config.json").read_text())
    matrices = load_file(out / "peft" / "adapter_model.safetensors")
    targets, scale = about["target_modules"], about["lora_alpha"] / about["r"]

    def targeted(name: str) -> bool:
        """PEFT's rule: a text is a pattern of the whole name, a list holds ends of names."""
        if isinstance(targets, str):
            return re.fullmatch(targets, name) is not None
        return any(name == t or name.endswith(f".{t}") for t in targets)

    changed = [n for n, m in theirs.named_modules() if targeted(n) and isinstance(m, torch.nn.Linear)]
    assert len(matrices) == 2 * len(changed) == 2 * 7 * own.model.config.num_layers
    for name in changed:
        a, b = (torch.tensor(matrices[f"base_model.model.{name}.lora_{x}.weight"]) for x in "AB")
        with torch.no_grad():
            theirs.get_submodule(name).weight += scale * (b @ a)
    agrees(theirs, own, base)


def test_transformers_tokenizer_says_what_ours_says(exported: Any) -> None:
    """A base with `tokenizer.model` alone: ids, chat turns and what is left of an answer are the same."""
    from transformers import AutoTokenizer

    _, _, own, out = exported
    for kind in ("hf", "peft"):
        theirs = AutoTokenizer.from_pretrained(out / kind)
        question = "  A pen costs $12.50 × 2.\n\nHow much\tfor 3 — or 100%?"
        task = Task("1", "math", question, "0", Kind.NUMBER, "test", "test")
        chat = [{"role": "user", "content": INSTRUCTIONS["format"] + question}]
        text = theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert text == "<bos>" + prompt(task, "format").text
        ids = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert ids == own.tokenizer.encode_prompt(prompt(task, "format").text)
        answer = "<reasoning>\nStep 1: 12.50 * 3 = 37.50.\n</reasoning>\n<answer>37.50</answer>"
        written = own.tokenizer.encode_completion(answer)
        assert theirs.encode(answer, add_special_tokens=False) == written[:-1]
        assert theirs.decode(written, skip_special_tokens=True) == answer

"""transformers' `generate` and a LoRA step of peft's, as their documentation has them, in float32 on the CPU.

Given: PyTorch's own attention (the default; eager took a quarter more time), inference mode, all rows of a
rollout in one batch with the default cache, a fused optimizer. Tried and not faster, in processor time of one
thread: a static cache (no faster), a static cache compiled by way of `CompileConfig` (twice the time,
without its compilation), prompts repeated by hand in place of `num_return_sequences` (the same).

Not done: rows that have ended stay in the batch until the last has, as `generate` does it; no trainer's
logging, saving or data loading around the SFT step.
"""

# pyright: reportMissingImports=false

import peft
import torch
import transformers
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModelForCausalLM
from worker import Done, Once, Spec, serve

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def loaded(spec: Spec):
    """The checkpoint, generating until one of the spec's ends or, with none, to the last token.

    With `None` no end is looked for and no row is masked; the folder's generation_config.json has ends.
    """
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32).eval()
    model.generation_config.eos_token_id = spec["ends"] or None
    model.generation_config.pad_token_id = spec["pad"]
    return model


def left(rows: list[list[int]], pad: int) -> dict[str, torch.Tensor]:
    """Prompts as `generate` wants them: padded on the left, with their mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def lengths(completions: torch.Tensor, ends: list[int]) -> list[int]:
    """The tokens of each row, its end included."""
    ended = torch.isin(completions, torch.tensor(ends, dtype=torch.long))
    first = torch.where(ended.any(1), ended.int().argmax(1) + 1, completions.shape[1])
    return first.tolist()


def generated(model, prompts: list[list[int]], spec: Spec) -> list[int]:
    """Lengths of what one call of `generate` writes, a row for each prompt and each of its group."""
    batch = left(prompts, spec["pad"])
    sampling = (
        {"do_sample": True, "temperature": spec["temperature"], "top_k": 0, "top_p": 1.0}
        if spec["temperature"] > 0
        else {"do_sample": False}
    )
    with torch.inference_mode():
        rows = model.generate(
            **batch, **sampling, max_new_tokens=spec["max_tokens"], num_return_sequences=spec["group"]
        )
    return lengths(rows[:, batch["input_ids"].shape[1] :], spec["ends"])


def rollout(spec: Spec) -> Once:
    """All rows in one batch."""
    model = loaded(spec)

    def once(repeat: int) -> Done:
        torch.manual_seed(repeat)
        each = generated(model, spec["prompts"], spec)
        return Done(rows=len(each), tokens=sum(each), longest=max(each))

    return once


def evaluate(spec: Spec) -> Once:
    """`batch` prompts at a time, in the order given."""
    model = loaded(spec)

    def once(repeat: int) -> Done:
        torch.manual_seed(repeat)
        each: list[int] = []
        for start in range(0, len(spec["prompts"]), spec["batch"]):
            each += generated(model, spec["prompts"][start : start + spec["batch"]], spec)
        return Done(rows=len(each), tokens=sum(each), longest=max(each))

    return once


def sft(spec: Spec) -> Once:
    """One optimizer step on `batch` examples, padded on the right to the longest among them."""
    lora = peft.LoraConfig(
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        target_modules=LINEAR,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(loaded(spec), lora).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=spec["learning_rate"], betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    examples, size = spec["examples"], spec["batch"]

    def once(repeat: int) -> Done:
        rows = [examples[(repeat * size + i) % len(examples)] for i in range(size)]
        width = max(len(prompt) + len(completion) for prompt, completion in rows)
        ids = torch.full((size, width), spec["pad"])
        mask = torch.zeros((size, width), dtype=torch.long)
        labels = torch.full((size, width), -100)
        for i, (prompt, completion) in enumerate(rows):
            end = len(prompt) + len(completion)
            ids[i, :end] = torch.tensor(prompt + completion)
            mask[i, :end] = 1
            labels[i, len(prompt) : end] = torch.tensor(completion)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        norm = clip_grad_norm_(trained, 1.0, error_if_nonfinite=True)
        optimizer.step()
        optimizer.zero_grad()
        assert torch.isfinite(loss) and norm > 0
        each = [len(completion) for _, completion in rows]
        return Done(rows=size, tokens=sum(each), longest=max(each))

    return once


if __name__ == "__main__":
    about = {
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
    }
    serve({"rollout": rollout, "evaluate": evaluate, "sft": sft}, about)

"""A GRPO step of TRL's GRPOTrainer with a LoRA adapter of peft's, as its documentation has it, on the CPU.

What it was given: float32 without gradient checkpointing (its defaults, bfloat16 and checkpointing, are for
accelerators), one batch for all of a step's completions, and a reward that costs nothing and leaves no group
without a signal. The loss is its default, dapo's. The reference is the model without its adapter. As the
completions are as old as the policy, it takes no log-probabilities of an older one.

What it does not do: it samples through `generate` of transformers with the adapter unmerged. vLLM, which its
documentation recommends for speed, wants an accelerator. Nothing is logged, evaluated or saved. Tried and not
faster: a static cache, continuous batching (several times slower on a CPU). All rows in one micro-batch took
a few percent less processor time than the micro-batches that the spec asks of all contenders.
"""

# pyright: reportMissingImports=false

import tempfile
import threading
from collections import Counter

import peft
import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from worker import Done, Once, Spec, serve

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
STEPS = 10_000  # more than are ever asked for


def config(spec: Spec, folder: str) -> trl.GRPOConfig:
    """All completions of the spec in one generation and in one optimizer step."""
    rows = len(spec["prompts"]) * spec["group"]
    return trl.GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": "float32"},
        per_device_train_batch_size=spec["micro"],
        gradient_accumulation_steps=rows // spec["micro"],
        generation_batch_size=rows,
        num_generations=spec["group"],
        num_iterations=1,
        max_completion_length=spec["max_tokens"],
        temperature=spec["temperature"],
        top_k=0,
        top_p=1.0,
        generation_kwargs={"eos_token_id": spec["ends"] or None},
        beta=spec["beta"],
        epsilon=spec["epsilon"],
        loss_type="dapo",
        learning_rate=spec["learning_rate"],
        lr_scheduler_type="constant",
        adam_beta2=0.99,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_steps=STEPS,
        disable_dropout=True,
        shuffle_dataset=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def every_other(completions: list[str], **_) -> list[float]:
    """A reward that differs inside of every group, whatever was written."""
    return [float(i % 2) for i in range(len(completions))]


class Gate(TrainerCallback):
    """Halts the training before each step, the step's data at hand, until it is let through."""

    def __init__(self):
        self.arrived, self.open = threading.Semaphore(0), threading.Semaphore(0)

    def on_step_begin(self, *_, **__):
        self.arrived.release()
        self.open.acquire()


def grpo(spec: Spec) -> Once:
    """The trainer's own loop in a thread; a call is from the gate to the gate: completions, rewards,
    log-probabilities of the reference, forward and backward passes, the optimizer, the next step's data."""
    tokenizer = AutoTokenizer.from_pretrained(spec["model"], padding_side="left")
    texts = [tokenizer.decode(ids[1:]) for ids in spec["prompts"]]  # it puts the beginning of sequence itself
    folder = tempfile.TemporaryDirectory()
    gate = Gate()
    trainer = trl.GRPOTrainer(
        model=spec["model"],
        processing_class=tokenizer,
        reward_funcs=every_other,
        args=config(spec, folder.name),
        train_dataset=Dataset.from_dict({"prompt": texts * 100}),
        peft_config=peft.LoraConfig(
            r=spec["rank"], lora_alpha=spec["alpha"], target_modules=LINEAR, task_type="CAUSAL_LM"
        ),
        callbacks=[gate],
    )
    trainer.eos_token_ids = spec["ends"]  # with none, no id ends a completion and nothing is masked behind it
    failed: list[BaseException] = []

    def train() -> None:
        try:
            trainer.train()
        except BaseException as error:
            failed.append(error)
        gate.arrived.release()

    threading.Thread(target=train, daemon=True).start()
    gate.arrived.acquire()
    # Where the trainer's configuration has no end, `generate` takes the model's, which `train` has just set.
    trainer.model.generation_config.eos_token_id = spec["ends"] or None
    expected = Counter({tuple(ids): spec["group"] for ids in spec["prompts"]})

    def once(repeat: int) -> Done:
        gate.open.release()
        gate.arrived.acquire()
        if failed:
            raise failed[0]
        assert trainer.state.global_step == repeat + 1
        parts = trainer._buffered_inputs  # what the step was made of
        seen = Counter(
            tuple(row[mask.bool()].tolist())
            for part in parts
            for row, mask in zip(part["prompt_ids"], part["prompt_mask"], strict=True)
        )
        assert seen == expected, "the prompts are not the spec's"
        assert all(part["advantages"].all() for part in parts), "a completion without a signal"
        each = torch.cat([part["completion_mask"].sum(1) for part in parts]).tolist()
        assert spec["ends"] or set(each) == {spec["max_tokens"]}, "a completion ended early"
        return Done(rows=len(each), tokens=sum(each), longest=max(each))

    return once


if __name__ == "__main__":
    about = {
        "trl": trl.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
    }
    serve({"grpo": grpo}, about)

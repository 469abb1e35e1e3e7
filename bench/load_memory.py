"""How much memory and time loading takes: a made checkpoint of a real shape, read in a process of its own.

    python bench/load_memory.py [--shape 270m|small] [--parts 2]

Prints the size of the files, of the largest part and of the model, by how much the process grew at most while
it loaded, and what of that was beyond the model. Linux only (the peak is the kernel's own, from /proc).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

SHAPES = {
    "270m": {"vocab_size": 262_144, "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
             "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256},
    "small": {"vocab_size": 8192, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 16,
              "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64},
}  # fmt: skip
CHILD = """
import json, re, sys, time
from pathlib import Path
from everystep.model.io.load import load
import jax

def kilobytes(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

jax.device_put(0.0).block_until_ready()
load("tiny")  # what is made once for a process
before = kilobytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
began = time.time()
model = load(sys.argv[1], dtype=sys.argv[2]).model
leaves = jax.block_until_ready(jax.tree.leaves(model))
seconds = time.time() - began
size = sum(x.nbytes for x in leaves)
print(json.dumps({"grew": (kilobytes("VmHWM") - before) * 1024, "model": size, "seconds": seconds}))
"""


def make(folder: Path, shape: str, parts: int) -> tuple[int, int]:
    """Write the checkpoint in bfloat16; the bytes of all its files and of the largest."""
    from everystep.model.config import Config, config_json
    from everystep.model.io.layout import layout
    from everystep.model.io.load import TINY

    s = SHAPES[shape]
    config = Config(
        num_layers=s["num_hidden_layers"], num_embed=s["vocab_size"], embed_dim=s["hidden_size"],
        hidden_dim=s["intermediate_size"], num_heads=s["num_attention_heads"], head_dim=s["head_dim"],
        num_kv_heads=s["num_key_value_heads"], sliding_window_size=512, global_base_frequency=1_000_000,
    )  # fmt: skip
    names = list(layout(config).items())
    places = {}
    for part in range(parts):
        name = f"model-{part + 1:05d}-of-{parts:05d}.safetensors"
        own = [item for i, item in enumerate(names) if i * parts // len(names) == part]
        save_file({k: np.full(size, 0.01, ml_dtypes.bfloat16) for k, (_, size) in own}, folder / name)
        places |= {k: name for k, _ in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps(config_json(config)))
    (folder / "tokenizer.model").write_bytes((TINY / "tokenizer.model").read_bytes())
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    return sum(sizes), max(sizes)


def measure(shape: str, parts: int, dtype: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        files, part = make(Path(folder), shape, parts)
        made = time.time() - began
        command = [sys.executable, "-W", "ignore", "-c", CHILD, folder, dtype]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"files": files, "part": part, "above": found["grew"] - found["model"], "made": made}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.shape, given.parts, given.dtype)
    if given.json:
        print(json.dumps(found))
    else:
        megabytes = {k: f"{found[k] / 1e6:.0f} MB" for k in ("files", "part", "model", "grew", "above")}
        print(f"{given.shape} in {given.parts} parts as {given.dtype}: {megabytes}, {found['seconds']:.1f} s")

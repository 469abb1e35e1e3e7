"""Laws of exports: each format holds the policy, is refused where it does not, and is there whole or not at
all."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import qwix
from flax import nnx
from safetensors.numpy import load_file, save_file
from tunix.models.gemma3 import model as stock
from tunix.models.gemma3.params_safetensors import create_model_from_safe_tensors
from tunix.sft.checkpoint_manager import CheckpointManager

from everystep.cli.app import app
from everystep.core.files import read_json
from everystep.core.run import Run, read_run
from everystep.core.types import Prompt
from everystep.model.io.export import arrays_of, factors, read_peft, read_tunix, write_tunix
from everystep.model.io.layout import layout, to_file
from everystep.model.io.load import load
from everystep.model.io.shards import INDEX, tensors
from everystep.model.io.verify_export import reference, reread
from everystep.model.lora import merged, save_adapter
from everystep.model.sampler import policy
from everystep.ship.export import FORMATS, export, export_stage, folder_of
from everystep.show.screen import Screen
from export_fixtures import ALPHA, RANK, arrays, base_folder, recipe_on, trained
from model_fixtures import TUNIX, config, logits, lora, texts, tokenizer

pytestmark = TUNIX
QUIET = Screen(quiet=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("base") / "micro")


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, dict[str, Any]]:
    """A run on a float32 base, exported in every format by its stage."""
    run = trained(tmp_path_factory.mktemp("run") / "run", base)
    export_stage(recipe_on(base, FORMATS), run, QUIET)
    out = folder_of(run, "grpo")
    return run, out, {kind: read_json(out / kind / "export.json") for kind in FORMATS}


def policy_weights() -> dict[str, np.ndarray]:
    """The merged policy, by JAX's own einsums, as the tensors of a file."""
    model = lora(seed=5, moved=True)
    flat = {p: np.asarray(v.get_value(), np.float32) for p, v in nnx.to_flat_state(merged(model))}
    return {name: to_file(name, flat[path], shape) for name, (path, shape) in layout(model.config).items()}


def test_a_format_says_what_it_is_and_was_compared(made: tuple[Run, Path, dict[str, Any]]) -> None:
    run, out, about = made
    assert sorted(p.name for p in out.iterdir()) == sorted(FORMATS)
    assert run.done("export") == {"stage": "grpo", "formats": list(FORMATS)}
    for kind in FORMATS:
        said = about[kind]
        assert (said["format"], said["stage"], said["step"]) == (kind, "grpo", 5)
        assert said["adapter"] == hashlib.sha256(run.adapter("grpo").read_bytes()).hexdigest()
        assert 0 <= said["agreement"]["logits"] <= said["agreement"]["tolerance"] == 1e-3
        assert said["agreement"]["tokens"] == 4 * 32 and said["agreement"]["lost"] < 1e-3
        found = {
            p.relative_to(out / kind).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in (out / kind).rglob("*")
            if p.is_file() and p.name != "export.json"
        }
        assert found == said["files"] and {"README.md", "NOTICE"} <= found.keys()
        assert "/" not in said["base"] and str(out) not in (out / kind / "export.json").read_text()
    stamp = (out / "hf" / "export.json").stat().st_mtime_ns
    export_stage(recipe_on("nowhere"), run, QUIET)  # done is done
    assert (out / "hf" / "export.json").stat().st_mtime_ns == stamp


def test_the_merged_folder_is_the_policy(made: tuple[Run, Path, dict[str, Any]], base: Path) -> None:
    _, out, about = made
    ours, before = load_file(out / "hf" / "model.safetensors"), load_file(base / "model.safetensors")
    for name, value in policy_weights().items():
        np.testing.assert_allclose(ours[name], value, atol=1e-6, err_msg=name)
        adapted = name.rsplit(".", 2)[-2].endswith("_proj")
        assert np.array_equal(ours[name], before[name]) != adapted
    assert about["hf"]["dtype"] == "float32" and about["hf"]["agreement"]["weights"] < 1e-4
    rows = [tokenizer().encode_prompt(texts(4)[0])]
    np.testing.assert_allclose(
        logits(load(str(out / "hf")).model, rows), logits(lora(seed=5, moved=True), rows), atol=1e-4
    )
    generation = json.loads((out / "hf" / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0}
    assert (out / "hf" / "tokenizer.model").read_bytes() == (base / "tokenizer.model").read_bytes()


def test_turns_are_special_by_the_name_that_transformers_4_and_5_read(
    made: tuple[Run, Path, dict[str, Any]], base: Path
) -> None:
    """transformers 4 wants a mapping under `extra_special_tokens`: a list there ends its loading."""
    assert not (base / "tokenizer_config.json").exists()
    for kind in ("hf", "peft"):
        about = json.loads((made[1] / kind / "tokenizer_config.json").read_text())
        assert about["additional_special_tokens"] == ["<start_of_turn>", "<end_of_turn>"]
        assert "extra_special_tokens" not in about


def test_half_precision_is_rounded_once_and_shards_are_indexed(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", "bfloat16", shards=3)
    (base / "generation_config.json").write_text('{"do_sample": true, "eos_token_id": 1, "top_k": 64}')
    (base / "tokenizer_config.json").write_text('{"chat_template": "theirs"}')
    run = trained(tmp_path / "run", base)
    out = tmp_path / "out"
    about = export(recipe_on(base), run, out, QUIET, formats=["hf"], shard_bytes=20_000)["hf"]
    assert about["dtype"] == "bfloat16" and about["agreement"]["weights"] < 1e-4
    assert about["agreement"]["tolerance"] == 0.1 and 0 < about["agreement"]["lost"] < 0.1
    index = json.loads((out / "hf" / INDEX).read_text())
    found, before = tensors(out / "hf"), tensors(base)
    assert found.keys() == before.keys() == index["weight_map"].keys()
    assert index["metadata"]["total_size"] == sum(t.size for t in found.values())
    files = sorted({t.file.name for t in found.values()})
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors" and len(files) > 3
    assert sum((out / "hf" / f).stat().st_size > 25_000 for f in files) == 1  # the embedding, which is larger
    delta = factors(arrays())
    for name, tensor in found.items():
        assert tensor.dtype == before[name].dtype
        old = before[name].array()
        module = name.removeprefix("model.").removesuffix(".weight")
        if module in delta:
            a, b = (x.astype(np.float64) for x in delta[module])
            exact = old.astype(np.float64) + ALPHA / RANK * b @ a
            half = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 8)  # of a unit in the last of 8 bits
            half += 1e-6  # what is lost in float32 before
            assert (np.abs(tensor.array().astype(np.float64) - exact) <= half).all(), name
        else:
            assert np.array_equal(tensor.array().view(np.uint8), old.view(np.uint8)), name
    generation = json.loads((out / "hf" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [1, 106] and generation["do_sample"] is True
    assert not (out / "hf" / "chat_template.jinja").exists()  # the base has its own


def test_a_model_that_sees_keeps_its_tower(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", prefix="language_model.model.")
    run = trained(tmp_path / "run", base)
    export(recipe_on(base), run, tmp_path / "out", QUIET, formats=["hf", "peft"])
    ours, before = (load_file(p / "model.safetensors") for p in (tmp_path / "out" / "hf", base))
    tower = next(k for k in ours if k.startswith("vision_tower."))
    np.testing.assert_array_equal(ours[tower], before[tower])
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    np.testing.assert_allclose(ours[name], policy_weights()[name.removeprefix("language_model.")], atol=1e-6)
    peft = load_file(tmp_path / "out" / "peft" / "adapter_model.safetensors")
    assert "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight" in peft
    about = json.loads((tmp_path / "out" / "peft" / "adapter_config.json").read_text())
    assert "language_model" in about["target_modules"]


def test_peft_computes_the_policy_from_it(made: tuple[Run, Path, dict[str, Any]], base: Path) -> None:
    """By PEFT's documented formula: W + lora_alpha / r · lora_B lora_A for every module that it targets."""
    _, out, _ = made
    about = json.loads((out / "peft" / "adapter_config.json").read_text())
    matrices, before = (
        load_file(out / "peft" / "adapter_model.safetensors"),
        load_file(base / "model.safetensors"),
    )
    assert all(m.dtype == np.float32 for m in matrices.values())
    scale, wanted, seen = about["lora_alpha"] / about["r"], policy_weights(), 0
    for name, weight in before.items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] in about["target_modules"]:
            at = f"base_model.model.{module}.lora_"
            a, b = (matrices.pop(f"{at}{x}.weight") for x in "AB")
            assert a.shape[0] == b.shape[1] == about["r"] == RANK
            weight, seen = weight + scale * (b @ a), seen + 1
        np.testing.assert_allclose(weight, wanted[name], atol=1e-6, err_msg=name)
    assert seen == 7 * 6 and not matrices
    found, rank, alpha = read_peft(out / "peft")
    again = arrays_of(found, arrays())
    assert (rank, alpha) == (RANK, ALPHA) and all(np.array_equal(again[k], v) for k, v in arrays().items())


def test_matrices_and_arrays_are_inverses_for_fused_heads_too() -> None:
    rng = np.random.default_rng(0)
    like = {
        "layers.3.attn.qkv_einsum.w_lora_a": rng.normal(size=(8, 2)).astype(np.float32),
        "layers.3.attn.qkv_einsum.w_lora_b": rng.normal(size=(2, 3, 4, 5)).astype(np.float32),
    }
    found = factors(like)
    assert {k: (a.shape, b.shape) for k, (a, b) in found.items()} == {
        f"layers.3.self_attn.{p}_proj": ((2, 8), (20, 2)) for p in "qkv"
    }
    assert all(np.array_equal(arrays_of(found, like)[k], v) for k, v in like.items())
    for spoilt, says in (
        ({k: v for k, v in found.items() if "k_proj" not in k}, "lacks"),
        (found | {"layers.3.self_attn.k_proj": (np.ones((2, 8)), np.ones((20, 2)))}, "share one"),
        (found | {"layers.4.mlp.up_proj": (np.ones((2, 8)), np.ones((20, 2)))}, "does not adapt"),
        ({k: (a, b[:-1]) for k, (a, b) in found.items()}, "other sizes"),
    ):
        with pytest.raises(ValueError, match=says):
            arrays_of(spoilt, like)
    with pytest.raises(ValueError, match="of no module"):
        factors({"layers.0.attn.router.w_lora_a": np.ones((2, 2)), "layers.0.attn.router.w_lora_b": np.ones(2)})


def tunix_model(base: Path) -> Any:
    """Tunix's own Gemma 3 with LoRA, as the public notebooks build it; nothing of ours."""
    fields = {f: getattr(config(), f) for f in stock.ModelConfig.__dataclass_fields__}
    plain = create_model_from_safe_tensors(str(base), stock.ModelConfig(**fields), dtype=jnp.float32)
    modules = ".*q_einsum|.*kv_einsum|.*gate_proj|.*down_proj|.*up_proj|.*attn_vec_einsum"
    provider = qwix.LoraProvider(module_path=modules, rank=RANK, alpha=ALPHA)
    return qwix.apply_lora_to_model(plain, provider, rngs=nnx.Rngs(3), **plain.get_model_input())


def tunix_logits(model: Any, row: list[int]) -> np.ndarray:
    length = len(row)
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    return np.asarray(model(jnp.asarray([row]), jnp.arange(length)[None], None, mask)[0][0], np.float32)


def test_the_public_loading_cell_reads_it_into_tunix_s_own_model(
    made: tuple[Run, Path, dict[str, Any]], base: Path
) -> None:
    """What the competition's cell does, in our words: the highest number below `actor`, its `model_params` by
    Orbax's standard checkpointer into the LoRA parameters of a model, no word on where they are to lie."""
    _, out, _ = made
    model, row = tunix_model(base), tokenizer().encode_prompt(texts(4)[1])
    steps = [int(p.name) for p in (out / "tunix" / "actor").iterdir() if p.name.isdigit()]
    path = out / "tunix" / "actor" / str(max(steps)) / "model_params"
    own = nnx.state(model, nnx.LoRAParam)
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), own)
    restored = ocp.StandardCheckpointer().restore(path, target=target)
    fresh = tunix_logits(model, row)
    nnx.update(model, jax.tree.map(lambda _, new: new, own, restored))
    want = logits(lora(seed=5, moved=True), [row])[0]
    assert np.abs(fresh - want).max() > 0.1
    np.testing.assert_allclose(tunix_logits(model, row), want, atol=1e-4)
    half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), own)  # as on a TPU
    narrow = ocp.StandardCheckpointer().restore(path, target=half)
    for (at, leaf), (_, wide) in zip(nnx.to_flat_state(narrow), nnx.to_flat_state(restored), strict=True):
        expected = np.asarray(wide.get_value()).astype(ml_dtypes.bfloat16)
        assert np.array_equal(np.asarray(leaf.get_value()), expected), at


@pytest.mark.slow
def test_tunix_s_own_trainer_would_go_on_from_it(made: tuple[Run, Path, dict[str, Any]], base: Path) -> None:
    _, out, _ = made
    model = tunix_model(base)
    manager = CheckpointManager(str(out / "tunix" / "actor"))
    step, about = manager.maybe_restore(model, restore_only_lora_params=True)
    manager.close()
    assert (step, about) == (5, {"global_step": 5, "role": "actor"})
    found = {".".join(map(str, p)): v.get_value() for p, v in nnx.to_flat_state(nnx.state(model, nnx.LoRAParam))}
    assert all(np.array_equal(found[k], v) for k, v in arrays().items())
    # A device's name would tie the file to machines that have one of that name.
    assert not [p for p in (out / "tunix").rglob("*") if p.name == "_sharding"]
    assert all(np.array_equal(read_tunix(lora(), out / "tunix")[k], v) for k, v in arrays().items())


@pytest.fixture(scope="module")
def ref(base: Path) -> Any:
    loaded = load(str(base))
    prompts = [Prompt(str(i), text) for i, text in enumerate(texts(4))]
    return reference(policy(lora(seed=5, moved=True), loaded.tokenizer), loaded, prompts)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def spoil(path: Path, change: Callable[[str, np.ndarray], np.ndarray]) -> None:
    save_file({k: np.ascontiguousarray(change(k, v)) for k, v in load_file(path).items()}, path)


def other_tunix(folder: Path) -> None:
    shutil.rmtree(folder / "actor")
    write_tunix(lora(), arrays(seed=6), 9, folder)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        (
            "hf",
            lambda f: spoil(f / "model.safetensors", lambda k, v: v * (1 + 1e-3 * ("gate_proj" in k))),
            "weights",
        ),
        (
            "hf",
            lambda f: spoil(f / "model.safetensors", lambda k, v: np.roll(v, 1) if "q_proj" in k else v),
            "weig",
        ),
        ("hf", lambda f: spoil(f / "model.safetensors", lambda k, v: v * np.nan), "weights"),
        ("hf", lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (
            "peft",
            lambda f: edit(f / "adapter_config.json", lambda c: c.update(lora_alpha=9)),
            "scales by|not the",
        ),
        ("peft", lambda f: edit(f / "adapter_config.json", lambda c: c.update(use_rslora=True)), "rslora"),
        ("peft", lambda f: edit(f / "adapter_config.json", lambda c: c.pop("r")), "cannot be read"),
        (
            "peft",
            lambda f: spoil(f / "adapter_model.safetensors", lambda k, v: v * (1 + ("q_proj.lora_B" in k))),
            "not the policy",
        ),
        (
            "peft",
            lambda f: spoil(f / "adapter_model.safetensors", lambda k, v: v + ("k_proj.lora_A" in k)),
            "share one",
        ),
        ("tunix", other_tunix, "not the policy"),
        ("tunix", lambda f: shutil.rmtree(f / "actor"), "no checkpoint"),
    ],
)
def test_what_is_not_the_policy_is_refused(
    kind: str, change: Any, says: str, made: tuple[Run, Path, dict[str, Any]], ref: Any, tmp_path: Path
) -> None:
    shutil.copytree(made[1] / kind, tmp_path / kind)
    assert reread(kind, tmp_path / kind, ref).logits < 1e-3
    change(tmp_path / kind)
    with pytest.raises(ValueError, match=says) as caught:
        reread(kind, tmp_path / kind, ref)
    assert "\n" not in str(caught.value)


def test_a_base_without_the_adapter_is_refused(base: Path, ref: Any) -> None:
    with pytest.raises(ValueError, match="weights are not the policy's"):
        reread("hf", base, ref)


def test_a_run_on_a_run_is_merged_whole(base: Path, tmp_path: Path) -> None:
    first = trained(tmp_path / "first", base, seed=6)
    second = trained(tmp_path / "second", first.root)
    with pytest.raises(ValueError, match=r"base is a run .* --format hf"):
        export(recipe_on(first.root), second, tmp_path / "out", QUIET, formats=["hf", "peft"])
    export(recipe_on(first.root), second, tmp_path / "out", QUIET, formats=["hf"])
    ours, before = (
        load_file(tmp_path / "out" / "hf" / "model.safetensors"),
        load_file(base / "model.safetensors"),
    )
    one, two = factors(arrays(6)), factors(arrays(5))
    for module in one:
        deltas = [b @ a for a, b in (one[module], two[module])]
        name = f"model.{module}.weight"
        np.testing.assert_allclose(ours[name], before[name] + ALPHA / RANK * sum(deltas), atol=1e-6)


def test_what_a_user_gets_wrong_is_one_line(base: Path, made: tuple[Run, Path, dict[str, Any]], tmp_path: Path) -> None:
    run, recipe = made[0], recipe_on(base)
    (tmp_path / "file").write_text("")
    empty = trained(tmp_path / "empty", base, stage="sft")
    empty.adapter("sft").unlink()
    odd = trained(tmp_path / "odd", base)
    save_adapter(odd.adapter("grpo"), {k: v[..., :3] for k, v in arrays().items()}, {})
    before = sorted(p.as_posix() for p in made[1].rglob("*"))
    cases: list[tuple[Run, dict[str, Any], str]] = [
        (run, {"stage": "base"}, "'base' leaves no adapter; there are sft, grpo"),
        (run, {"stage": "sft"}, "'sft' has left no adapter"),
        (empty, {}, "no stage has left an adapter"),
        (odd, {}, "not of rank 4"),
        (run, {"formats": ["gguf"]}, "'gguf' does not exist; there are hf, peft, tunix"),
        (run, {"out": made[1]}, "hf: is already there; give --force"),
        (run, {"out": tmp_path / "file" / "x"}, "cannot be written"),
    ]
    for on, given, says in cases:
        options = {"out": tmp_path / "out", **given}
        out = options.pop("out")
        with pytest.raises(ValueError, match=says) as caught:
            export(recipe, on, out, QUIET, **options)
        assert "\n" not in str(caught.value)
    assert sorted(p.as_posix() for p in made[1].rglob("*")) == before
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no run is here"):
        app(args=["export", str(tmp_path)], standalone_mode=False)


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from export_fixtures import recipe_on
from everystep.ship.export import FORMATS, export
from everystep.core.run import read_run
from everystep.show.screen import Screen

run, base, out = read_run(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
recipe, quiet = recipe_on(base), Screen(quiet=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
for kind, most in (("hf", 50_000), ("peft", 5_000), ("tunix", 5_000)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        export(recipe, run, out, quiet, formats=[kind])
        print(kind, "was written")
    except ValueError as error:
        print(kind, str(error).splitlines())
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    print(sorted(p.name for p in out.iterdir()) if out.exists() else "nothing")
export(recipe, run, out, quiet, formats=["peft"])
print("whole", flush=True)
rename = Path.rename
def deadly(self, to):
    if Path(to).name == "peft":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, to)
Path.rename = deadly
export(recipe, run, out, quiet, formats=["hf", "peft"], force=True)
"""


@pytest.mark.slow
def test_a_full_disk_and_a_kill_leave_nothing_half(base: Path, tmp_path: Path) -> None:
    """The system's limit on a file's size stands for the disk's. Killed where an export replaces another: the
    moment at which nothing has the final name."""
    run, out = trained(tmp_path / "run", base), tmp_path / "out"
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(run.root), str(base), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False, timeout=280)
    lines = done.stdout.splitlines()
    assert done.returncode == -signal.SIGKILL and lines[-1] == "whole", done.stdout + done.stderr
    for failed, left in zip(lines[:6:2], lines[1:6:2], strict=True):
        assert "cannot be written" in failed and "nothing of it is left" in failed, failed
        assert failed.count("', '") == 0 and left == "nothing"
    assert sorted(p.name for p in out.iterdir()) == [".lock", ".peft.partial", ".peft.replaced", "hf"]
    with pytest.raises(ValueError, match="peft: is already there"):  # the replaced one is back
        export(recipe_on(base), run, out, QUIET, formats=["peft"])
    assert sorted(p.name for p in out.iterdir()) == ["hf", "peft"]
    assert read_json(out / "peft" / "export.json")["format"] == "peft"


def test_one_export_at_a_time(base: Path, tmp_path: Path) -> None:
    import fcntl

    run = trained(tmp_path / "run", base)
    out = tmp_path / "out"
    out.mkdir()
    with open(out / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="is exporting there"):
            export(recipe_on(base), run, out, QUIET)
    assert (out / ".lock").exists()


def test_the_verb_exports_a_run(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path / "run", base, stage="sft")
    half = run.export / "sft" / ".peft.partial" / "adapter_model.safetensors"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"what a killed process has left")
    app(args=["export", str(run.root), "--format", "peft", "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said["peft"]["stage"] == "sft" and (run.export / "sft" / "peft" / "README.md").is_file()
    assert [p.name for p in (run.export / "sft").iterdir()] == ["peft"]
    assert read_run(run.root).done("export") is None

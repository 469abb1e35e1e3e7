"""Recipes: what is accepted, and that whatever is wrong is said in one line that helps."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everystep.core.recipe import Recipe, identity, load, resolve, validate
from everystep.core.strict import RecipeError

MINIMAL = "name: x\ndata: {worked: {}}\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_least_recipe_has_every_default(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, MINIMAL))
    assert recipe == validate({"name": "x", "data": {"worked": {}}}, "here")
    assert recipe.kind == "run" and recipe.grpo.group == 8 and recipe.data.gsm8k is None
    assert validate(resolve(recipe), "again") == recipe


def test_a_recipe_cannot_be_changed() -> None:
    recipe = validate({"name": "x", "data": {"worked": {}}}, "here")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]


ACCEPTED = [
    ("sft: {learning_rate: 1e-5}", "sft.learning_rate", 1e-5),
    ("sft: {learning_rate: 1E-5}", "sft.learning_rate", 1e-5),
    ("sft: {learning_rate: 1.e-5}", "sft.learning_rate", 1e-5),
    ("sft: {learning_rate: 2e+1}", "sft.learning_rate", 20.0),
    ("sft: {learning_rate: 1}", "sft.learning_rate", 1.0),
    ("sft: {warmup: 0}", "sft.warmup", 0.0),
    ("sft: {traces: 1_000}", "sft.traces", 1000),
    ("sft: {data: self}", "sft.data", "self"),
    ("sft: {data: self, self_made: {balance: 2}}", "sft.self_made.balance", 2.0),
    ("sft: {self_made: {prompts: [none]}}", "sft.self_made.prompts", ("none",)),
    ("hours: .5", "hours", 0.5),
    ("seed: 7", "seed", 7),
    ("grpo: {refill: true}", "grpo.refill", True),
    ("watch: {dead: {action: off}}", "watch.dead.action", "off"),
    ("grpo: {refill: yes}", "grpo.refill", True),
    ("model: {name: some/folder}", "model.name", "some/folder"),
    ("data: {worked: {levels: [2, 1]}}", "data.worked.levels", (2, 1)),
    ("data: {gsm8k: {path: '1e-5', test: null}}", "data.gsm8k.path", "1e-5"),
    (
        "reward: {parts: {correctness: 2, brevity: -0.5}}",
        "reward.parts",
        {"correctness": 2.0, "brevity": -0.5},
    ),
]


@pytest.mark.parametrize(("text", "key", "value"), ACCEPTED)
def test_accepted(tmp_path: Path, text: str, key: str, value: object) -> None:
    data = "" if text.startswith("data") else "data: {worked: {}}\n"
    at: object = load(written(tmp_path, f"name: x\n{data}{text}\n"))
    for part in key.split("."):
        at = getattr(at, part)
    assert at == value and type(at) is type(value)


REFUSED = [
    ("", "must be a mapping of keys to values, is NoneType"),
    ("- a\n- b", "must be a mapping of keys to values, is list"),
    ("just text", "must be a mapping"),
    ("name: x", "the key 'data' is missing"),
    ("data: {worked: {}}", "the key 'name' is missing"),
    ("name: x\ndata: {}", "data names no source; give at least one of worked"),
    ("name: x\ndata: {gsm8k: null}", "data names no source"),
    ("name: x\nkind: pretrain\ndata: {}", "the section pretrain is missing"),
    (MINIMAL + "grop: {}", "unknown key 'grop'; did you mean 'grpo'?"),
    (MINIMAL + "grpo: {stpes: 4}", "unknown key 'grpo.stpes'; did you mean 'steps'?"),
    (MINIMAL + "grpo: {zzz: 4}", "unknown key 'grpo.zzz'; known keys: advantage, beta, "),
    ("name: x\ndata: {worked: {trian: 5}}", "unknown key 'data.worked.trian'; did you mean 'train'?"),
    ("name: x\ndata: {wroked: {}}", "unknown key 'data.wroked'; did you mean 'worked'?"),
    (MINIMAL + "model: {lora: {ranks: 4}}", "unknown key 'model.lora.ranks'; did you mean 'rank'?"),
    (MINIMAL + "1: 2", "unknown key '1'"),
    (MINIMAL + "grpo: {steps: '40'}", "grpo.steps: Input should be a valid integer, got '40'"),
    (MINIMAL + "grpo: {steps: 4.5}", "grpo.steps: Input should be a valid integer"),
    (MINIMAL + "grpo: {steps: 1e3}", "grpo.steps: Input should be a valid integer"),
    (MINIMAL + "grpo: {steps: true}", "grpo.steps: Input should be a valid integer, got True"),
    (MINIMAL + "grpo: {steps: null}", "grpo.steps"),
    (MINIMAL + "grpo: {steps: [4]}", "grpo.steps"),
    (MINIMAL + "grpo: {refill: 1}", "grpo.refill: Input should be a valid boolean, got 1"),
    (MINIMAL + "hours: true", "hours: Input should be a valid number, got True"),
    (MINIMAL + "grpo: 5", "grpo: "),
    (MINIMAL + "grpo: null", "grpo: "),
    (MINIMAL + "grpo: {group: 1}", "grpo.group: Input should be greater than or equal to 2, got 1"),
    (MINIMAL + "grpo: {steps: 0}", "grpo.steps: Input should be greater than 0"),
    (MINIMAL + "sft: {warmup: 1}", "sft.warmup: Input should be less than 1"),
    (MINIMAL + "sft: {data: mine}", "sft.data: Input should be 'gold' or 'self', got 'mine'"),
    (
        MINIMAL + "sft: {self_made: {sample: 8}}",
        "unknown key 'sft.self_made.sample'; did you mean 'samples'?",
    ),
    (MINIMAL + "sft: {self_made: {prompts: []}}", "sft.self_made.prompts: Tuple should have at least 1 item"),
    (MINIMAL + "sft: {self_made: {balance: 0.5}}", "sft.self_made.balance: Input should be greater than or"),
    (MINIMAL + "sft: {self_made: {temperature: 0}}", "sft.self_made.temperature: Input should be greater"),
    (MINIMAL + "hours: .nan", "hours: Input should be a finite number, got nan"),
    (MINIMAL + "hours: .inf", "hours: Input should be a finite number, got inf"),
    (MINIMAL + "hours: 1e999", "hours: Input should be a finite number"),
    (MINIMAL + "seed: -1", "seed: Input should be greater than or equal to 0"),
    (MINIMAL + "kind: evaluate", "kind: Input should be 'run' or 'pretrain'"),
    (MINIMAL + "reward: {parts: {correctness: high}}", "reward.parts.correctness: "),
    ("name: ''\ndata: {worked: {}}", "name: String should match"),
    ("name: ..\ndata: {worked: {}}", "name: String should match"),
    ("name: a/b\ndata: {worked: {}}", "name: String should match"),
    ("name: 5\ndata: {worked: {}}", "name: Input should be a valid string, got 5"),
    (MINIMAL + "grpo: {steps: a, group: 1}", "(and 1 more)"),
    (MINIMAL + "seed: 1\nseed: 2", "the key 'seed' occurs twice"),
    (MINIMAL + "grpo: {steps: 1, steps: 1}", "the key 'steps' occurs twice"),
    (MINIMAL + "a: [", "not valid YAML"),
    (MINIMAL + "a: \x00", "not valid YAML"),
    (MINIMAL + "a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    (MINIMAL + "seed: 2024-13-45", "not valid YAML"),
    (MINIMAL + "seed: " + "9" * 5000, "not valid YAML"),
    (MINIMAL + "seed: " + "9" * 100, "seed: Input should be less than 2147483648"),
    ("&a {name: x, data: *a}", "no plain YAML"),
    (MINIMAL + "? [1, 2]\n: 3", "not valid YAML"),
    ("[" * 50_000, "is nested too deeply"),
    (b"name: \xff\n", "is not UTF-8 text"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=lambda x: repr(x)[:60])
def test_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load(path)
    message = str(caught.value)
    assert said in message and message.startswith(f"recipe {path}") and "\n" not in message
    assert len(message) < 400 + len(str(path))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(RecipeError, match=r"cannot be read \(.+\); give a YAML file"):
            load(path)


OVERRIDES = [
    (["grpo.steps=7"], "grpo.steps", 7),
    (["grpo.learning_rate=1e-5"], "grpo.learning_rate", 1e-5),
    (["grpo.steps=7", "grpo.steps=8"], "grpo.steps", 8),
    (["data.gsm8k.path=a=b"], "data.gsm8k.path", "a=b"),
    (["data.gsm8k={train: 5}"], "data.gsm8k.train", 5),
    (["data.worked.levels=[1, 3]"], "data.worked.levels", (1, 3)),
    (["data.worked=", "data.svamp={}"], "data.worked", None),
    (["model.lora.rank=4"], "model.lora.rank", 4),
    (["hours=2"], "hours", 2.0),
]


@pytest.mark.parametrize(("overrides", "key", "value"), OVERRIDES)
def test_overrides(tmp_path: Path, overrides: list[str], key: str, value: object) -> None:
    at: object = load(written(tmp_path, MINIMAL), overrides)
    for part in key.split("."):
        at = getattr(at, part)
    assert at == value


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("grpo.steps", "must look like a.b=value"),
        ("=4", "must look like a.b=value"),
        ("grpo..steps=4", "must look like a.b=value"),
        (".steps=4", "must look like a.b=value"),
        ("", "must look like a.b=value"),
        ("name.x=4", "'name' is a value, not a section"),
        ("grpo.steps=[", "the value is not valid YAML"),
        ("grpo.stpes=4", "did you mean 'steps'?"),
        ("grpo.steps=", "grpo.steps"),
        ("grpo.steps=x", "got 'x'"),
    ],
)
def test_overrides_that_are_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(written(tmp_path, MINIMAL), [override])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_identity_is_of_the_values_alone(tmp_path: Path) -> None:
    plain = load(written(tmp_path, MINIMAL))
    assert identity(load(written(tmp_path, "# a comment\ndata:\n  worked: {}\nname: 'x'\nseed: 0\n"))) == identity(
        plain
    )
    assert len(identity(plain)) == 16
    others = [load(written(tmp_path, MINIMAL), [o]) for o in ("seed=1", "sft.batch=33", "data.gsm8k={}", "hours=8")]
    assert len({identity(r) for r in [plain, *others]}) == 5


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Recipe.model_fields, "worked", "x"]), inner, max_size=4)
    ),
)


@given(_json)
def test_no_tree_raises_anything_else(tree: object) -> None:
    try:
        validate(tree, "here")
    except RecipeError as error:
        assert "\n" not in str(error)

"""Strict reading of YAML files into pydantic schemas: every error is one line that names the path and the
nearest right key.

Which keys there are is the schema's business (`core/recipe.py`, `evaluate/ablation.py`).
"""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class RecipeError(ValueError):
    """A recipe that cannot be used; the message is one clear line."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_Section = TypeVar("_Section", bound=Part)


def read_tree(path: Path, where: str, example: str) -> dict[str, Any]:
    """The mapping in a YAML file; RecipeError, which begins with `where`, for everything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{where}: cannot be read ({error.strerror}); give a YAML file, e.g. {example}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{where}: is not UTF-8 text") from None
    try:
        tree = yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise RecipeError(f"{where}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that cannot be
        raise RecipeError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{where}: must be a mapping of keys to values, is {type(tree).__name__}")
    return tree


def validated(model: type[_Section], tree: Any, where: str) -> _Section:
    """A section of a schema from plain values; RecipeError as `validate` says."""
    try:
        # By way of JSON, in which pydantic's strictness still lets a list be a tuple.
        return model.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        errors = error.errors()
        # An unknown key explains a missing one, so it comes first.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        keys = ".".join(str(k) for k in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise RecipeError(f"{where}: unknown key {keys!r}; {hint}") from None
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if first["type"] == "missing":
            raise RecipeError(f"{where}: the key {keys!r} is missing{more}") from None
        message = first["msg"].removeprefix("Value error, ")
        got = f", got {_short(first.get('input'))}" if first["type"] != "value_error" else ""
        raise RecipeError(f"{where}: {keys}{': ' if keys else ''}{message}{got}{more}") from None
    except (TypeError, ValueError, RecursionError):
        raise RecipeError(f"{where}: holds values that are no plain YAML (a cycle, or keys of other kinds)") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-5` as text (it wants a dot) and `off` as a truth value; users mean the number and
    the word. A key given twice is an error, where YAML would silently take the last one."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:bool"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE|yes|no)$"), list("tTfFyn")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?\d[\d_]*(?:\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def apply(tree: dict[str, Any], override: str) -> None:
    """Set the value of an override `a.b=value` in a mapping; RecipeError for one that cannot be read."""
    key, equals, value = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise RecipeError(f"override {override!r}: must look like a.b=value, e.g. grpo.steps=40")
    at = tree
    for part in parts[:-1]:
        child = at.get(part)
        if child is None:
            child = at[part] = {}
        if not isinstance(child, dict):
            raise RecipeError(f"override {override!r}: {part!r} is a value, not a section")
        at = child
    try:
        at[parts[-1]] = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"override {override!r}: the value is not valid YAML") from None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _known_keys(model: Any, path: Sequence[int | str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return []
        arguments = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)

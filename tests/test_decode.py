"""Laws of decoding and of log-probabilities: a row is its own, greedy is the argmax, and what was captured
while sampling is what the trainer computes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tunix.models.gemma3.model import Gemma3

from everystep.core.types import Completion, Prompt, Sampling, Stop
from everystep.model.chunk import drawn, row_keys
from everystep.model.decode import Decoded, decode, left_pad, prompt_length
from everystep.model.gemma import Gemma
from everystep.model.logprobs import attention, group_logprobs, token_logprobs
from everystep.model.lora import merged
from everystep.model.sampler import Policy, policy
from everystep.train.groups import step_seed
from model_fixtures import TUNIX, logits, logprobs, lora, micro, texts, tokenizer

pytestmark = TUNIX
ENDS = (1, *range(106, 150))
HOT = Sampling(temperature=1.0, max_tokens=24, seed=3)


@cache
def model() -> Gemma:
    return lora(seed=1, moved=True)


@cache
def sampler() -> Policy:
    return policy(model(), tokenizer())


@cache
def ids() -> list[list[int]]:
    return [tokenizer().encode_prompt(t) for t in texts(4)]


@cache
def rows(count: int = 4, n: int = 4, how: Sampling = HOT, ends: tuple[int, ...] = (1, 106)) -> list[list[Decoded]]:
    state = merged(model())
    return decode(sampler().structure, state, ids()[:count], n, how, pad=tokenizer().pad, ends=ends)


def flat(groups: list[list[Decoded]]) -> list[Decoded]:
    return [row for group in groups for row in group]


def text(row: Decoded) -> list[int]:
    return row.tokens.tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_log_probabilities_are_the_trainers(temperature: float) -> None:
    groups = rows(how=replace(HOT, temperature=temperature))
    pad, length = tokenizer().pad, prompt_length(ids())
    assert len({len(p) for p in ids()}) == 4 and length > (model().config.sliding_window_size or 0)
    every = flat(groups)
    tokens = np.full((len(every), length + HOT.max_tokens), pad, np.int32)
    tokens[:, :length] = np.repeat(left_pad(ids(), length, pad), 4, axis=0)
    for i, row in enumerate(every):
        tokens[i, length : length + len(row.tokens)] = row.tokens
    ours = logprobs(model(), tokens, pad, HOT.max_tokens, temperature)
    for i, row in enumerate(every):
        np.testing.assert_allclose(ours[i, : len(row.tokens)], row.logprobs, atol=1e-4)


@pytest.mark.slow
def test_a_shared_prefix_changes_no_number() -> None:
    """Log-probabilities and gradients, with prompts of different lengths, beyond the sliding window."""
    pad, rng = tokenizer().pad, np.random.default_rng(3)
    prompts = left_pad(ids(), prompt_length(ids()), pad)
    group = np.arange(8) // 2
    completions = rng.integers(120, 500, (8, 21)).astype(np.int32)
    completions[1, 4:], completions[4, 20:] = pad, pad
    real = completions != pad
    graph, state = nnx.split(model())

    def plain(state: Any) -> Any:
        tokens = jnp.concatenate([jnp.asarray(prompts)[group], jnp.asarray(completions)], axis=1)
        return token_logprobs(nnx.merge(graph, state), tokens, pad, 21, 0.7)

    def shared(state: Any) -> Any:
        ours = nnx.merge(graph, state)
        return group_logprobs(ours, jnp.asarray(prompts), jnp.asarray(completions), pad, 0.7)

    weight = jnp.asarray(rng.normal(size=real.shape) * real, jnp.float32)

    def gradient(of: Any) -> Any:
        return jax.tree.leaves(jax.jit(jax.grad(lambda s: (of(s) * weight).sum()))(state))

    a, b = np.asarray(jax.jit(plain)(state)), np.asarray(jax.jit(shared)(state))
    np.testing.assert_allclose(a[real], b[real], atol=2e-5)
    for x, y in zip(gradient(plain), gradient(shared), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=1e-4)


def test_our_layers_are_tunix_own_in_number() -> None:
    """The same parameters in Tunix's stock module: equal logits, over more tokens than the sliding window."""
    ours_ = micro()
    stock = Gemma3(ours_.config, rngs=nnx.Rngs(0))
    nnx.update(stock, nnx.state(ours_))
    tokens = jnp.asarray(np.random.default_rng(5).integers(4, 500, (3, 40)), jnp.int32).at[1, :9].set(0)
    positions, mask = attention(tokens != 0)
    theirs, ours = (nnx.jit(lambda model: model(tokens, positions, None, mask)[0])(model) for model in (stock, ours_))
    real = np.asarray(tokens != 0)
    np.testing.assert_allclose(np.asarray(ours)[real], np.asarray(theirs)[real], atol=2e-5)


def test_log_probabilities_are_natural_logs_at_the_temperature() -> None:
    row = rows(how=replace(HOT, temperature=0.7))[1][2]
    seen = [*ids()[1], *text(row)]
    scaled = logits(model(), [seen])[0, len(ids()[1]) - 1 : -1] / 0.7
    by_hand = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(by_hand[np.arange(len(row.tokens)), row.tokens], row.logprobs, atol=1e-4)


def test_log_probabilities_do_not_know_of_padding() -> None:
    row, pad = ids()[0], tokenizer().pad
    left = left_pad([row], len(row) + 10, pad)
    right = np.array([row + [pad] * 10], np.int32)
    a = logprobs(model(), left, pad, 5)[0]
    b = logprobs(model(), right, pad, 15)[0, :5]
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_row_is_its_own_whoever_its_neighbours_are() -> None:
    """Alone, with others, in another order, and with more samples: the same ids."""
    together = rows()
    alone = rows(count=1)
    state, pad = merged(model()), tokenizer().pad
    turned = decode(sampler().structure, state, ids()[::-1], 4, HOT, pad=pad, ends=(1, 106))[::-1]
    fewer = rows(n=1)
    for p in range(4):
        assert [text(r) for r in turned[p]] == [text(r) for r in together[p]]
        assert text(fewer[p][0]) == text(together[p][0])
    assert [text(r) for r in alone[0]] == [text(r) for r in together[0]]


def test_finished_rows_are_dropped_without_a_trace() -> None:
    """With a twelfth of the pieces as ends most rows end in the first chunk, and the batch shrinks."""
    cut, whole = rows(ends=ENDS), rows()
    lengths = [len(r.tokens) for group in cut for r in group]
    assert sum(n <= 16 for n in lengths) > 8 > 0 < sum(n > 16 for n in lengths)
    for a, b in zip(flat(cut), flat(whole), strict=True):
        assert text(a) == text(b)[: len(a.tokens)]
        np.testing.assert_allclose(a.logprobs, b.logprobs[: len(a.tokens)], atol=1e-5)


@pytest.mark.parametrize("refill", [True, False], ids=["places", "batches"])
@pytest.mark.parametrize("temperature", [1.0, 0.0], ids=["sampled", "greedy"])
def test_rows_that_waited_are_the_same(temperature: float, refill: bool) -> None:
    """Sixteen places for 96 rows, which begin at all slots, beyond the sliding window and over many moves of
    the past, or in six batches; with a twelfth of the pieces as ends they end at all times."""
    how = Sampling(temperature=temperature, max_tokens=40, seed=3)
    prompts, pad = [*ids(), *(row[:5] for row in ids()), *(row[:9] for row in ids())], tokenizer().pad
    state, shape = merged(model()), sampler().structure
    assert how.max_tokens > 2 * (model().config.sliding_window_size or 0)
    whole = decode(shape, state, prompts, 8, how, pad=pad, ends=ENDS)
    queued = decode(shape, state, prompts, 8, how, pad=pad, ends=ENDS, at_once=16, refill=refill)
    assert len({len(row.tokens) for row in flat(whole)}) > (10 if temperature else 3)
    for a, b in zip(flat(queued), flat(whole), strict=True):
        assert text(a) == text(b) and a.ended == b.ended
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_groups_that_read_their_prompt_together_are_the_same() -> None:
    """Eight groups of eight read their prompts together until half of the rows have ended, which is after the
    layers with a window have let go of them; against rows that waited for places, and never do."""
    how, ends = Sampling(temperature=1.0, max_tokens=112, seed=3), (1, *range(106, 109))
    prompts, pad = [*ids(), *(row[:9] for row in ids())], tokenizer().pad
    state, shape = merged(model()), sampler().structure
    together = decode(shape, state, prompts, 8, how, pad=pad, ends=ends)
    lengths = np.array([len(row.tokens) for row in flat(together)])
    assert (lengths > 64).sum() > 32 >= (lengths > 96).sum() > 0, np.sort(lengths)
    apart = decode(shape, state, prompts, 8, how, pad=pad, ends=ends, at_once=32, refill=True)
    for a, b in zip(flat(apart), flat(together), strict=True):
        assert text(a) == text(b) and a.ended == b.ended
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_batches_side_by_side_are_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch, and two at once, with places that are given again; what ends is told once, and in
    the same order every time, though two cores are never equally fast."""
    how, ends = Sampling(temperature=1.0, max_tokens=40, seed=6), tuple(range(1, 150))
    prompts, pad, n = [*ids(), *(row[:9] for row in ids())], tokenizer().pad, 8
    state, shape = merged(model()), sampler().structure
    ways = ((1, True), (2, True), (2, True), (2, False), (2, False))
    found, heard = [list[list[Decoded]]() for _ in ways], [list[int]() for _ in ways]
    for i, (cores, refill) in enumerate(ways):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))

        def on_done(some: list[tuple[int, Decoded]], heard: list[int] = heard[i]) -> None:
            heard.extend(r for r, _ in some)

        found[i] = decode(shape, state, prompts, n, how, pad=pad, ends=ends, at_once=32, refill=refill, on_done=on_done)
        assert sorted(heard[i]) == list(range(len(prompts) * n))
    assert len({len(row.tokens) for row in flat(found[0])}) > 5
    assert heard[0] != heard[1] == heard[2] != heard[3] == heard[4]
    for other in found[1:]:
        for a, b in zip(flat(other), flat(found[0]), strict=True):
            assert text(a) == text(b) and a.ended == b.ended
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_prompts_that_are_read_some_at_a_time_are_the_same() -> None:
    """Forty prompts of 3 to 61 ids, of which 32 are read at a time, each time as long as they need."""
    long = [i for row in ids() for i in row]
    prompts = [[2, *long[at : at + 2 + int(1.5 * at)]] for at in range(40)]
    state, shape, pad = merged(model()), sampler().structure, tokenizer().pad

    def run(some: Sequence[list[int]]) -> list[list[Decoded]]:
        return decode(shape, state, some, 1, Sampling(0.0, max_tokens=8), pad=pad, ends=ENDS)

    apart = [group for at in range(0, 40, 8) for group in run(prompts[at : at + 8])]
    for a, b in zip(flat(run(prompts)), flat(apart), strict=True):
        assert text(a) == text(b)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_what_a_listener_raises_ends_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    state, shape, pad = merged(model()), sampler().structure, tokenizer().pad

    def on_done(some: list[tuple[int, Decoded]]) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        decode(shape, state, ids(), 8, HOT, pad=pad, ends=ENDS, on_done=on_done)


def test_the_end_is_kept_and_only_the_end_ends() -> None:
    for row in flat(rows(ends=ENDS)):
        assert row.ended == (text(row)[-1] in ENDS)
        assert not set(text(row)[:-1]) & set(ENDS)
        assert row.ended or len(row.tokens) == HOT.max_tokens
        assert len(row.logprobs) == len(row.tokens) <= HOT.max_tokens
        assert tokenizer().pad not in text(row)


def test_greedy_is_the_argmax_of_plain_forward_passes() -> None:
    greedy = rows(how=Sampling(temperature=0.0, max_tokens=24), n=1)
    for prompt, (row,) in zip(ids(), greedy, strict=True):
        whole = np.array(logits(model(), [[*prompt, *text(row)]])[0, len(prompt) - 1 : -1])
        whole[:, tokenizer().pad] = -np.inf
        assert whole.argmax(axis=1).tolist() == text(row)


@pytest.mark.parametrize("pieces", [7, 64, 500])
def test_pieces_are_drawn_as_often_as_they_are_likely(pieces: int) -> None:
    """By a chi-square test over 40,960 draws; what has no probability is never drawn."""
    rng, rows = np.random.default_rng(pieces), 4096
    logits = rng.normal(0, 2, pieces)
    logits[rng.permutation(pieces)[: pieces // 3]] = -np.inf
    odds = np.exp(logits) / np.exp(logits).sum()
    given = jnp.log(jnp.broadcast_to(jnp.asarray(odds, jnp.float32), (rows, pieces)))
    keys = row_keys(np.uint32(5), np.arange(rows, dtype=np.uint32), np.zeros(rows, np.uint32))
    draw = jax.jit(lambda position: drawn(given, keys, position))
    counts = sum(np.bincount(draw(jnp.full(rows, p)), minlength=pieces) for p in range(10))
    assert counts.sum() == 10 * rows and (counts[odds == 0] == 0).all()
    wanted = odds * 10 * rows
    often = wanted >= 5
    seen = np.append(counts[often], counts[~often].sum())
    hoped = np.append(wanted[often], wanted[~often].sum())
    z = ((seen - hoped)[hoped > 0] ** 2 / hoped[hoped > 0]).sum()
    freedom = (hoped > 0).sum() - 1
    assert abs(z - freedom) < 4 * np.sqrt(2 * freedom), (z, freedom)


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 0.0}], ids=str)
def test_the_narrowest_truncation_is_greedy(narrow: dict[str, float]) -> None:
    greedy = rows(how=Sampling(temperature=0.0, max_tokens=24), n=1)
    how = Sampling(temperature=1.0, max_tokens=24, seed=5, **narrow)  # type: ignore[arg-type]
    assert [text(g[0]) for g in rows(how=how, n=1)] == [text(g[0]) for g in greedy]


def test_seeds_and_steps_draw_anew() -> None:
    again = decode(sampler().structure, merged(model()), ids(), 4, HOT, pad=0, ends=(1, 106))
    other = rows(how=replace(HOT, seed=4))
    steps = [rows(how=replace(HOT, seed=step_seed(0, step))) for step in (0, 1)]
    assert [text(r) for g in again for r in g] == [text(r) for g in rows() for r in g]
    for a, b in ((rows(), other), tuple(steps)):
        assert all(text(x) != text(y) for g, h in zip(a, b, strict=True) for x, y in zip(g, h, strict=True))
    assert all(len({tuple(text(r)) for r in group}) == 4 for group in rows())


def test_step_seeds_differ() -> None:
    seeds = {step_seed(s, k, r) for s in range(5) for k in range(200) for r in range(3)}
    assert len(seeds) == 5 * 200 * 3


def test_the_sampler_gives_completions() -> None:
    prompts = [Prompt(str(i), t) for i, t in enumerate(texts(4))]
    for p, group in enumerate(sampler().sample(prompts, 4, HOT)):
        assert [c.task_id for c in group] == [str(p)] * 4 and [c.sample for c in group] == [0, 1, 2, 3]
        for c, row in zip(group, rows()[p], strict=True):
            assert list(c.tokens) == text(row) and c.text == tokenizer().decode(text(row))
            assert c.logprobs == tuple(row.logprobs.tolist())
            assert c.stop is (Stop.END if c.tokens[-1] in tokenizer().ends else Stop.LENGTH)
            assert "<end_of_turn>" not in c.text
    assert sampler().sample([], 2, HOT) == []


def test_what_flows_is_what_is_sampled_and_told_once() -> None:
    prompts = [Prompt(str(i), t) for i, t in enumerate(texts(40))]
    how, told = Sampling(max_tokens=40), list[list[Completion]]()
    sampler().flow(prompts, how, 16, told.append)
    by_id = {c.task_id: c for some in told for c in some}
    assert len(told) > 2 and sum(map(len, told)) == len(by_id) == 40
    for prompt, (wanted,) in zip(prompts, sampler().sample(prompts, 1, how), strict=True):
        got = by_id[prompt.task_id]
        assert replace(got, logprobs=None) == replace(wanted, logprobs=None)
        assert got.logprobs and wanted.logprobs
        np.testing.assert_allclose(got.logprobs, wanted.logprobs, atol=1e-5)
    sampler().flow([], how, 16, told.append)
    assert sum(map(len, told)) == 40


def test_a_stream_ends_as_what_is_sampled_at_once() -> None:
    prompt, heard = Prompt("0", texts(4)[0]), list[list[Completion]]()
    how = replace(HOT, max_tokens=40)
    done = sampler().stream(prompt, 4, how, heard.append)
    assert done == sampler().sample([prompt], 4, how)[0]
    assert heard[-1] == done and 1 < len(heard) <= 3  # chunks of 16, the last one cut at 40
    for before, after in pairwise(heard):
        for a, b in zip(before, after, strict=True):
            assert b.tokens[: len(a.tokens)] == a.tokens and len(a.tokens) <= how.max_tokens
            assert a == b or a.stop is Stop.LENGTH


def test_what_a_listener_raises_ends_the_stream() -> None:
    heard: list[list[Completion]] = []

    def leave(completions: list[Completion]) -> None:
        heard.append(completions)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sampler().stream(Prompt("0", texts(4)[0]), 4, replace(HOT, max_tokens=40), leave)
    assert len(heard) == 1


def test_last_logits_alone_are_the_last_of_all() -> None:
    """Our module's one parameter, and the flattened feed-forward, change no number."""
    tokens = jnp.asarray([ids()[0]])
    positions = jnp.arange(tokens.shape[1])[None]
    mask = jnp.tril(jnp.ones((1, tokens.shape[1], tokens.shape[1]), bool))
    last, _ = micro()(tokens, positions, None, mask, decode_only_last_token=True)
    np.testing.assert_allclose(np.asarray(last)[0, 0], logits(micro(), [ids()[0]])[0, -1], atol=1e-5)

"""Laws of the tokenizer: text comes back, control pieces have Gemma's ids, digits stand alone, nothing is
unknown."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.trace import gold, prompt, render
from everystep.data.corpus import tokenizer_lines
from everystep.model.tokenizer import load_tokenizer, train_tokenizer
from model_fixtures import INSTRUCTION, TUNIX, VOCABULARY, tasks, tokenizer, tokenizer_model

pytestmark = TUNIX


def test_gemma_s_ids() -> None:
    t, piece = tokenizer(), tokenizer().processor.PieceToId
    assert (t.pad, t.ends, t.bos, t.processor.unk_id()) == (0, (1, 106), 2, 3)
    assert piece("<start_of_turn>") == 105 and piece("<end_of_turn>") == 106 and piece("\n") == 107
    assert t.size == VOCABULARY
    assert t.encode("<start_of_turn>user\n")[0] == 105


def test_training_is_deterministic() -> None:
    assert train_tokenizer(tokenizer_lines(0, documents=300), VOCABULARY) == tokenizer_model()


def test_tasks_and_traces_come_back() -> None:
    for task in tasks():
        text = render(gold(task))
        ids = tokenizer().encode_completion(text)
        assert ids[-1] == 106 and tokenizer().decode(ids) == text and tokenizer().processor.unk_id() not in ids
        asked = tokenizer().encode_prompt(prompt(task, INSTRUCTION).text)
        assert asked[0] == 2 and asked.count(105) == 2 and asked.count(106) == 1


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00▁"), max_size=60))
def test_text_comes_back(text: str) -> None:
    t = tokenizer()
    ids = t.encode(text)
    assert t.decode(ids) == text or any(i in t.ends for i in ids)
    assert not {t.pad, t.bos, t.ends[0]} & set(ids)


def test_digits_stand_alone() -> None:
    pieces = [tokenizer().processor.IdToPiece(i) for i in tokenizer().encode("12345 and 67")]
    assert all(sum(c.isdigit() for c in p) <= 1 for p in pieces)


def test_decoding_stops_at_an_end_and_skips_padding() -> None:
    t = tokenizer()
    words = t.encode("3 apples")
    assert t.decode([t.pad, t.bos, *words, 106, *words]) == "3 apples" == t.decode([*words, 1])
    assert t.decode([]) == "" == t.decode([106])


@given(st.lists(st.integers(0, VOCABULARY - 1), max_size=40))
def test_ends_say_where_the_text_of_each_id_ends(ids: list[int]) -> None:
    t = tokenizer()
    text, ends = t.decode_with_ends(ids)
    assert text == t.decode(ids) and len(ends) == len(ids)
    assert list(ends) == sorted(ends) and (not ends or ends[-1] == len(text))


def test_ends_of_a_plain_text() -> None:
    t = tokenizer()
    ids = t.encode("12 é so")
    text, ends = t.decode_with_ends([t.bos, *ids, 106, 1])
    assert text == "12 é so" and ends[0] == 0 and ends[-3:] == (7, 7, 7)
    assert [text[a:b] for a, b in itertools.pairwise((0, *ends[1:3]))] == ["1", "2"]
    assert t.decode_with_ends([]) == ("", ())


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tokenizer\.model"):
        load_tokenizer(tmp_path)
    for content in (b"", b"nothing", tokenizer_model()[: len(tokenizer_model()) // 2]):
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(ValueError, match="tokenizer") as caught:
            load_tokenizer(tmp_path)
        assert "\n" not in str(caught.value)

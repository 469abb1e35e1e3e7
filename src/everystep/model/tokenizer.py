"""The tokenizer of a model folder: text to ids and back, and the ids that mean something to the engine.

Wraps a SentencePiece file as Gemma ships it (`tokenizer.model`), or the `tokenizer.json` that `transformers`
writes, where there is no other. Chat text is made in `core/trace.py`; nothing
here knows about tags or turns beyond the ids of the control pieces.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers

# Gemma 3's own layout: control ids first, the turn marks at 105 and 106. The tiny vocabulary keeps it, so
# that every path which handles ids is the one real models take.
_USER_PIECES = [
    "<mask>",
    "[multimodal]",
    *(f"<unused{i}>" for i in range(99)),
    "<start_of_turn>",
    "<end_of_turn>",
    "\n",
]
_IMAGE = "<image_soft_token>"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A SentencePiece processor, or what `tokenizer.json` gives in its place, with the ids the engine needs.
    `ends` are the ids that end a completion: end of sequence and end of turn."""

    processor: Any
    pad: int
    bos: int
    ends: tuple[int, ...]
    size: int

    def encode(self, text: str) -> list[int]:
        """Ids of the text, control pieces recognised, without a beginning-of-sequence id."""
        return self.processor.EncodeAsIds(text)

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a prompt: the beginning-of-sequence id, then the text."""
        return [self.bos, *self.encode(text)]

    def encode_completion(self, text: str) -> list[int]:
        """Ids of a completion as the model should write it: the text, then end of turn."""
        return [*self.encode(text), self.ends[-1]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids up to the first end id (exclusive); padding is left out."""
        kept = []
        for i in ids:
            if i in self.ends:
                break
            if i not in (self.pad, self.bos):
                kept.append(int(i))
        return self.processor.DecodeIds(kept)

    def decode_with_ends(self, ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
        """What `decode` gives, and for each id the offset at which its text ends; ids that have none (from
        the end id on, padding) end where the one before does."""
        stop = next((k for k, i in enumerate(ids) if i in self.ends), len(ids))
        shown = [i not in (self.pad, self.bos) for i in ids[:stop]]
        kept = [int(i) for i, show in zip(ids, shown, strict=False) if show]
        text, surfaces = _surfaces(self.processor, kept)
        lengths = iter(surfaces)
        own = [next(lengths) if show else 0 for show in shown] + [0] * (len(ids) - stop)
        return text, tuple(itertools.accumulate(own))


@dataclass(frozen=True, slots=True)
class Fast:
    """A tokenizer of the `tokenizers` library behind the two calls of SentencePiece's that are used here."""

    inner: tokenizers.Tokenizer

    def EncodeAsIds(self, text: str) -> list[int]:
        return self.inner.encode(text, add_special_tokens=False).ids

    def DecodeIds(self, ids: Sequence[int]) -> str:
        return self.inner.decode(ids, skip_special_tokens=False)


def _surfaces(processor: Any, ids: list[int]) -> tuple[str, list[int]]:
    """The text of the ids, and how many of its characters each id gives; of a character that is spelled in
    bytes the last one gives it."""
    if not isinstance(processor, Fast):
        found = processor.DecodeIdsAsProto(ids)
        return found.text, [len(piece.surface) for piece in found.pieces]
    text, reached = processor.DecodeIds(ids), [0]
    for k in range(1, len(ids) + 1):
        known = processor.DecodeIds(ids[:k])
        whole = k == len(ids) or text.startswith(known)
        reached.append(max(reached[-1], len(known)) if whole else reached[-1])
    return text, [b - a for a, b in itertools.pairwise(reached)]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read `tokenizer.model` of a model folder, or `tokenizer.json` where there is only that.

    Raises ValueError, one line, where the file is missing, unreadable or has no end-of-turn piece.
    """
    file = folder / "tokenizer.model"
    if not file.is_file():
        if (folder / "tokenizer.json").is_file():
            return _read_json(folder)
        raise ValueError(
            f"model {folder}: no tokenizer.model and no tokenizer.json there; a Gemma folder has one of them "
            "beside config.json"
        )
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(file.read_bytes())
    except RuntimeError as error:
        raise ValueError(f"model {folder}: tokenizer.model cannot be read ({error})") from None
    turn = processor.PieceToId("<end_of_turn>")
    if turn == processor.unk_id():
        raise ValueError(f"model {folder}: the tokenizer has no <end_of_turn> piece; is it a Gemma tokenizer?")
    return Tokenizer(processor, processor.pad_id(), processor.bos_id(), (processor.eos_id(), turn), len(processor))


def _read_json(folder: Path) -> Tokenizer:
    try:
        tree = json.loads((folder / "tokenizer.json").read_bytes())
        # Gemma 3's stands for an image and lies behind the embedding's last row: no text may become it.
        tree["added_tokens"] = [t for t in tree["added_tokens"] if t["content"] != _IMAGE]
        tree["model"]["vocab"].pop(_IMAGE, None)
        inner = tokenizers.Tokenizer.from_str(json.dumps(tree))
    except Exception as error:  # the library raises bare Exceptions
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"model {folder}: tokenizer.json cannot be read ({said})") from None
    ids = [inner.token_to_id(name) for name in ("<pad>", "<bos>", "<eos>", "<end_of_turn>")]
    if None in ids:
        raise ValueError(
            f"model {folder}: tokenizer.json lacks <pad>, <bos>, <eos> or <end_of_turn>; is it a Gemma tokenizer?"
        )
    size = max(inner.get_vocab().values()) + 1
    return Tokenizer(Fast(inner), ids[0], ids[1], (ids[2], ids[3]), size)


def train_tokenizer(texts: Iterable[str], size: int) -> bytes:
    """A SentencePiece BPE model in Gemma's manner: digits one by one, bytes as fallback, no normalisation,
    spaces kept. Returns the serialized model. Deterministic for equal texts."""
    import io

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(texts),
        model_writer=out,
        model_type="bpe",
        vocab_size=size,
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        max_sentence_length=8192,
        user_defined_symbols=_USER_PIECES,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()

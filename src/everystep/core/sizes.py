"""Sizes that the engine computes in and the forecast counts with: each is written down here alone.

Batches, lengths and the KV cache come in few sizes, because every size is a program that has to be compiled.
"""

import math

CHUNK = 16  # decode steps between two looks of the host
DEV_TASKS = 128  # dev tasks that training looks at while it runs, at most
_ROWS = 16  # of the smallest batch: below, a smaller one saves no time worth a compilation
_PADDED = 32  # prompts and completions are padded to multiples of this
_SLOTS = 64  # of the smallest KV cache: fewer would save less time than their programs take to compile


def bucket(rows: int) -> int:
    """The rows of the decoding batch that holds so many: 16, 32, 64, …

    >>> [bucket(n) for n in (1, 16, 17, 64, 65)]
    [16, 16, 32, 64, 128]
    """
    return max(_ROWS, 1 << (rows - 1).bit_length())


def padded(length: float) -> int:
    """A prompt's or completion's length as it is padded.

    >>> padded(1), padded(288), padded(289)
    (32, 288, 320)
    """
    return max(1, math.ceil(length / _PADDED)) * _PADDED


def room(slots: int, most: int | None = None) -> int:
    """The slots of the KV cache that holds so many: 64, 128, 192, 256, 384, …; no more than `most`, where
    that holds them.

    >>> [room(n) for n in (1, 64, 65, 129, 257)], room(520, 576)
    ([64, 64, 128, 192, 384], 576)
    """
    power = max(_SLOTS, 1 << (slots - 1).bit_length())
    size = power * 3 // 4 if power > 2 * _SLOTS and slots <= power * 3 // 4 else power
    return size if most is None else min(size, max(most, slots))


def reserved_minutes(hours: float) -> float:
    """Minutes of a session that are kept free for what follows training: a tenth, but no more than ten.

    >>> reserved_minutes(0.5), reserved_minutes(9.0)
    (3.0, 10.0)
    """
    return min(10.0, hours * 6.0)

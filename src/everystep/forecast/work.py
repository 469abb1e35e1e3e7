"""Counted operations and bytes of the steps, and the seconds they make on a device.

An operation is one addition or one product. Padding counts: it is computed. What is not counted is small
beside the rest (norms, the optimizer, gathering the adapter's gradients) or is stated as time of its own
(`hours.py`).
"""

import math
from dataclasses import dataclass

from everystep.core.sizes import CHUNK, bucket, room
from everystep.forecast.devices import EFFICIENCY, Device, Dtype
from everystep.forecast.lengths import Lengths
from everystep.model.shape import Shape

_SAMPLING = 8  # times that a decode step reads or writes its logits in float32


@dataclass(frozen=True, slots=True)
class Machine:
    """A model in a dtype on a device; with `spread` weights every pass brings each layer to every chip."""

    shape: Shape
    device: Device
    dtype: Dtype
    spread: bool = False

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bfloat16" else 4

    def compute(self, operations: float) -> float:
        """Seconds for operations spread over all chips, at the assumed share of their rate."""
        rate = self.device.rate(self.dtype) * self.device.chips
        return operations / (rate * EFFICIENCY[self.device.family].compute)

    def gathering(self, passes: float) -> float:
        """Seconds in which spread weights come to every chip so many times."""
        if not self.spread or not self.device.link:
            return 0.0
        return passes * self.shape.parameters * self.itemsize / self.device.link

    def update(self, rows: float, prompts: float, length: float, last: float) -> float:
        """Seconds of one micro-batch's update: `rows` completions of `last` tokens, `prompts` prompts of
        `length` computed. The base is frozen, so backward costs what forward does, attention's twice that;
        with remat forward comes twice, and the logits always do."""
        s = self.shape
        forward = s.forward(prompts * length, length) + s.forward(rows * last, length + last)
        attention = forward - s.forward(prompts * length + rows * last, 0)
        again = 1 if s.remat else 0
        layers = (2 + again) * forward + attention + 4 * s.adapter * (prompts * length + rows * last)
        return self.compute(layers + 3 * s.logits(rows * last)) + self.gathering(2 + again)

    def passing(self, rows: float, prompts: float, length: float, last: float) -> float:
        """Seconds of the reference's pass over the same."""
        s = self.shape
        forward = s.forward(prompts * length, length) + s.forward(rows * last, length + last)
        return self.compute(forward + s.logits(rows * last)) + self.gathering(1)

    def decoding(self, prompts: int, n: int, length: int, most: int, lengths: Lengths) -> float:
        """Seconds to sample `n` completions of each of so many prompts: the prefill, then steps whose rows
        become fewer as they end (`model/decode.py`) over a past that grows, each as long as its bytes or its
        operations take. That layers with a window have less of a past is left out."""
        seconds = self.compute(self.shape.forward(bucket(prompts) * length, length)) + self.gathering(1)
        rows = prompts * n
        held = bucket(rows)
        longest = lengths.longest(rows)
        for begin in range(0, most, CHUNK):
            if begin >= longest:
                break
            held = min(held, bucket(max(1, math.ceil(rows * lengths.alive(begin)))))
            if n > 1 and held == rows:  # whole groups read their prompt together
                seconds += CHUNK * self.step(held, length / n + room(begin + CHUNK))
            else:
                seconds += CHUNK * self.step(held, room(length + begin + CHUNK))
        return seconds

    def step(self, rows: int, size: float) -> float:
        """Seconds of one decode step of so many rows with `size` positions each: weights, the past and the
        logits are read; a chip has its share of the rows, all of them where the chips do not divide them."""
        s, chips = self.shape, self.device.chips
        own = rows / chips if rows % chips == 0 else rows
        past = size * s.layers * 2 * s.kv * s.head * self.itemsize
        held = s.parameters * self.itemsize + own * (past + _SAMPLING * 4 * s.vocabulary)
        operations = own * (2 * s.linear + 2 * s.table + 4 * s.layers * s.heads * s.head * size)
        slower = max(held / self.device.bandwidth, operations / self.device.rate(self.dtype))
        return slower / EFFICIENCY[self.device.family].decode

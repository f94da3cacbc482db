"""Random inputs: valid samples with a few changes, or nonsense."""

import random
from collections.abc import Sequence

# What breaks readers: ends, quotes, escapes, other planes of Unicode, numbers at the edges of their types.
PIECES = [
    "\0", "\n", "\r", "\t", "\x1b", "\x7f", " ", "  ", ",", ";", ":", "->", "...", "(", ")", "[", "]", "{", "}", "*",
    "+", "?", "#", "@", "|", "=", "/", "//", "\\", '"', "'", ".", "..", "^", "$", "-", "_", "%", "%s", "%n", "é", "Ω",
    "\u2028", "\ufeff", "\ufffd", "\U0001f600", "\u0301", "0", "1", "-1", "00", "2147483647", "2147483648",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551616", "1e999", "1e5",
    "0x10", "nan", "null", "true",
]  # fmt: skip
LONG = (60, 300, 5000)


class Mutator:
    """`words` are the pieces that the target's own language is made of."""

    def __init__(self, rng: random.Random, samples: Sequence[str], words: Sequence[str] = ()) -> None:
        self.rng, self._samples, self._words = rng, list(samples), list(words)

    def text(self) -> str:
        kind = self.rng.randrange(20)
        if kind == 0:
            return self._noise(self.rng.randrange(40))
        if kind == 1:
            return " ".join(self.piece() for _ in range(self.rng.randrange(12)))
        text = self.rng.choice(self._samples)
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 3, 8))):
            text = self._changed(text)
        return text

    def data(self) -> bytes:
        """The text's bytes, some of them changed, so that they need not be UTF-8."""
        data = bytearray(self.text().encode())
        for _ in range(self.rng.choice((0, 0, 0, 1, 3))):
            at = self.rng.randrange(len(data) + 1)
            data[at : at + self.rng.randrange(2)] = self.rng.randbytes(self.rng.randrange(3))
        return bytes(data)

    def piece(self) -> str:
        return self.rng.choice(self._words if self._words and self.rng.randrange(3) else PIECES)

    def _noise(self, length: int) -> str:
        largest = self.rng.choice((0x80, 0x100, 0xD800))  # below the surrogates
        return "".join(chr(self.rng.randrange(largest)) for _ in range(length))

    def _changed(self, text: str) -> str:
        rng = self.rng
        a, b = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        few = a + rng.randrange(4)
        kind = rng.randrange(9)
        if kind == 0:
            return text[:a] + text[few:]
        if kind == 1:
            return text[:a] + self.piece() + text[a:]
        if kind == 2:
            return text[:a] + self.piece() + text[few:]
        if kind == 3:
            return text[:a] + self._noise(1 + rng.randrange(3)) + text[few:]
        if kind == 4:
            return text[:b] + text[a:b] + text[b:]
        if kind == 5:
            return text[:a] + text[b:]
        if kind == 6:
            other = rng.choice(self._samples)
            return text[:a] + other[rng.randrange(len(other) + 1) :]
        if kind == 7 and rng.randrange(5) == 0:
            return text[:a] + self.piece() * rng.choice(LONG) + text[a:]
        words = text.split(" ")
        rng.shuffle(words)
        return " ".join(words)

"""Rows that no client should send, and one will: empty, malformed, enormous."""

import struct
import zlib

# What a header may claim: 30 GB of pixels, 2 GB of sound.
HUGE_SIDE, HUGE_SECONDS, RATE_HZ = 100_000, 62_500, 16_000
LONG_TEXT = b"word " * 20_000
MALFORMED = {
    "image": b"\x89PNG\r\n\x1a\n\x00\x01 broken",
    "audio": b"RIFF\x00\x01 broken",
    "text": b"\xff\xfe broken \xf0\x28",
    "tabular": b"\xff 12 kg",
}


def rows(run):
    """One row of each sort.

    Args:
        run: a `run.Run`.

    Returns:
        {what it is: {served name: bytes}}.
    """
    huge = {
        "image": huge_png(),
        "audio": huge_wav(),
        "text": LONG_TEXT,
        "tabular": b"9" * 400,
    }
    kinds = {
        column: run.recipe.data.inputs[name]["kind"]
        for name, decoder in run.decoders.items()
        for column in decoder.signatures
    }
    return {
        "a row with nothing in it": dict.fromkeys(kinds, b""),
        "a malformed row": {name: MALFORMED[kind] for name, kind in kinds.items()},
        "an enormous row": {name: huge[kind] for name, kind in kinds.items()},
    }


def huge_png():
    """A PNG of 8-bit RGB that claims 100,000 x 100,000 pixels and has no more bytes.

    (Portable Network Graphics, third edition, 5.3 and 11.2.1.)
    """
    sides = struct.pack(">II5B", HUGE_SIDE, HUGE_SIDE, 8, 2, 0, 0, 0)
    parts = (b"IHDR" + sides, b"IDAT" + zlib.compress(b"\x00" * 64), b"IEND")
    chunks = (
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def huge_wav():
    """A WAV of 16 bits that claims 2 GB of samples and has ten."""
    claimed = HUGE_SECONDS * RATE_HZ * 2
    form = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    head = b"RIFF" + struct.pack("<I", claimed + 36) + b"WAVE"
    head += b"fmt " + struct.pack("<I", len(form)) + form
    return head + b"data" + struct.pack("<I", claimed) + b"\x00\x01" * 10

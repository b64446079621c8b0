"""Whole batches as NumPy columns: the volume of each sender without a Python object for any message.

    python examples/numpy_columns.py run/seqcast.toml

Needs NumPy: pip install 'seqcast[numpy]'.
"""

import sys
from collections import Counter

import numpy

from seqcast import Receiver


def main() -> None:
    messages: Counter[str] = Counter()
    volume: Counter[str] = Counter()
    first_bytes = numpy.zeros(256, dtype=int)
    with Receiver(sys.argv[1]) as receiver:
        while not receiver.ended:
            batch = receiver.poll(timeout=1.0)
            columns = batch.arrays()  # views, valid until the next poll
            senders, which = numpy.unique(columns.senders, return_inverse=True)
            bytes_each = numpy.bincount(which, weights=columns.lengths, minlength=len(senders))
            for sender, count, size in zip(senders, numpy.bincount(which), bytes_each, strict=True):
                messages[sender.decode().rstrip()] += int(count)
                volume[sender.decode().rstrip()] += int(size)
            # Payloads lie in one buffer: their first bytes, which often tell the type, are one look into it.
            offsets = columns.offsets[columns.lengths > 0]
            first_bytes += numpy.bincount(numpy.frombuffer(batch.buffer, "u1")[offsets], minlength=256)
    for sender, count in sorted(messages.items()):
        print(f"{sender}: {count} messages, {volume[sender]} bytes")
    for byte in first_bytes.nonzero()[0]:
        print(f"{first_bytes[byte]} begin with {chr(byte)!r}")


if __name__ == "__main__":
    main()

"""A receiver for many messages: batches in place, without a Python object for each message.

python examples/receive_batches.py run/seqcast.toml
"""

import sys

from seqcast import Receiver


def main() -> None:
    messages = payload_bytes = 0
    with Receiver(sys.argv[1]) as receiver:
        while not receiver.ended:
            batch = receiver.poll(timeout=1.0)  # valid until the next call
            messages += len(batch)
            payload_bytes += sum(batch.payloads.lengths)
    print(f"{messages} messages, {payload_bytes} bytes, {receiver.gaps_filled} gaps filled")


if __name__ == "__main__":
    main()

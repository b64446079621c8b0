"""A receiver for many messages: batches in place, without a Python object for each message.

python examples/receive_batches.py run/seqcast.toml
"""

import sys

from seqcast import BEGIN, read_configuration, receiver_of


def main() -> None:
    configuration = read_configuration(sys.argv[1])
    messages = payload_bytes = 0
    with receiver_of(configuration, start=BEGIN) as receiver:
        while not receiver.ended:
            batch = receiver.poll(timeout=1.0)  # valid until the next call
            messages += len(batch)
            payload_bytes += sum(batch.payloads.lengths)
    print(f"{messages} messages, {payload_bytes} bytes, {receiver.gaps_filled} gaps filled")


if __name__ == "__main__":
    main()

"""A receiver in an app: the whole stream from its beginning, then live, until the session ends.

python examples/receive.py run/seqcast.toml
"""

import sys

from seqcast import Receiver


def main() -> None:
    with Receiver(sys.argv[1]) as receiver:
        for message in receiver:
            print(message.number, message.sender, message.payload.decode("ascii", "replace"))


if __name__ == "__main__":
    main()

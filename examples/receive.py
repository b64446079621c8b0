"""A receiver in an app: the whole stream from its beginning, then live, until the session ends.

python examples/receive.py run/seqcast.toml
"""

import sys

from seqcast import BEGIN, read_configuration, receiver_of


def main() -> None:
    configuration = read_configuration(sys.argv[1])
    with receiver_of(configuration, start=BEGIN) as receiver:
        for message in receiver:
            print(message.number, message.sender, message.payload.decode("ascii", "replace"))


if __name__ == "__main__":
    main()

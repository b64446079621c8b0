"""A sender in an app: it goes on where this user stopped, and knows what is committed.

python examples/send.py run/seqcast.toml ALPHA 1000
"""

import sys

from seqcast import Sender


def main() -> None:
    user, count = sys.argv[2], int(sys.argv[3])
    with Sender(sys.argv[1], user) as sender:
        # Message n is sender sequence n: what is in the stream already is not sent again.
        for n in range(sender.resumed_at + 1, count + 1):
            sender.send(f"message {n} of {user}".encode())
        number = sender.flush(timeout=30)
    print(f"{user} is in the stream up to its message {count}, which is record {number}")


if __name__ == "__main__":
    main()

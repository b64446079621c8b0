"""Any MoldUDP64 listener can read the bus: this one is standard-library Python and knows nothing of seqcast.

    python examples/listen_plain.py GROUP PORT

It prints the messages from the first packet it hears to the end of the session, across failovers: nothing on the
wire tells it of one. It repairs nothing, but it says what it missed. Records end with a stamp of 28 bytes.
"""

import socket
import struct
import sys

END_OF_SESSION = 0xFFFF  # in the place of a count: no messages follow, ever


def main() -> None:
    group, port = sys.argv[1], int(sys.argv[2])
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((group, port))
    membership = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    print("listening", flush=True)
    following = count = 0
    while count != END_OF_SESSION:
        packet = listener.recv(65536)
        _session, number, count = struct.unpack_from(">10sQH", packet)
        if number > (following or number):  # a heartbeat tells too: its number is that of the next message
            print(f"missed {following} to {number - 1}", flush=True)
        following, offset = max(following, number), 20
        for n in range(number, number + count if count != END_OF_SESSION else number):
            begin, offset = offset + 2, offset + 2 + int.from_bytes(packet[offset : offset + 2], "big")
            if n == following:  # lower numbers come again after a failover
                following += 1
                if packet[offset - 28] == 0:  # kind 0 are the messages
                    print(n, packet[begin : offset - 28].decode("ascii", "replace"), flush=True)


if __name__ == "__main__":
    main()

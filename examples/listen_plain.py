"""Any MoldUDP64 listener can read the bus: this one is standard-library Python and knows nothing of seqcast.

    python examples/listen_plain.py GROUP PORT LAST

It begins with the first packet it hears and prints messages, without their 28-byte stamps, up to record LAST or
the end of the session. It repairs nothing.
"""

import socket
import struct
import sys

HEADER = struct.Struct(">10sQH")
STAMP_BYTES = 28
END_OF_SESSION = 0xFFFF


def main() -> None:
    group, port, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((group, port))
    membership = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    print("listening", flush=True)
    following = None
    while following is None or following <= last:
        packet = listener.recv(65536)
        _session, number, count = HEADER.unpack_from(packet)
        following = following or number
        offset = HEADER.size
        if count == END_OF_SESSION:
            break
        for n in range(number, number + count):
            (length,) = struct.unpack_from(">H", packet, offset)
            record = packet[offset + 2 : offset + 2 + length]
            offset += 2 + length
            if n == following:
                kind = record[-STAMP_BYTES]
                if kind == 0:
                    print(n, record[:-STAMP_BYTES].decode("ascii", "replace"), flush=True)
                following += 1


if __name__ == "__main__":
    main()

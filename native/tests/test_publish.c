/* Packing records into downstream packets: every record once, whole, in order, never above the limit. */
#include "bytes.h"
#include "publish.h"
#include "segment_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t session[10] = "TESTSESS01";

/* Checks one packet against the segment; returns the number after its last record. */
static uint64_t check_packet(fixture *f, const uint8_t *packet, uint32_t length, uint64_t number,
                             uint32_t limit)
{
    CHECK(length >= 20 && length <= limit);
    CHECK(memcmp(packet, session, 10) == 0);
    CHECK(sc_get_be64(packet + 10) == number);
    uint32_t count = sc_get_be16(packet + 18), at = 20;
    CHECK(count > 0 && count < 65535);
    for (uint32_t i = 0; i < count; i++, number++) {
        uint32_t record = sc_get_be16(packet + at);
        CHECK(sc_record_check(packet + at + 2, record, number) == 0);
        CHECK(number < f->segment.first + f->segment.count);
        at += 2 + record;
    }
    CHECK(at == length);
    return number;
}

static void packs_all(uint32_t datagram_bytes, uint32_t datagrams, uint32_t payload)
{
    fixture *f = fixture_new(1 << 20, 1000);
    fixture_fill(f, 500, payload);
    sc_outgoing *o = sc_outgoing_new(session, datagrams, datagram_bytes);
    CHECK(o != NULL);
    uint64_t number = 1000, last = 1499;
    while (number <= last) {
        uint64_t following = sc_outgoing_fill(o, &f->segment, number, last);
        CHECK(following > number && sc_outgoing_count(o) <= datagrams);
        for (uint32_t i = 0; i < sc_outgoing_count(o); i++) {
            uint32_t length;
            const uint8_t *packet = sc_outgoing_datagram(o, i, &length);
            number = check_packet(f, packet, length, number, datagram_bytes);
        }
        CHECK(number == following);
    }
    CHECK(number == 1500);
    sc_outgoing_free(o);
    fixture_free(f);
}

static void stops_where_it_must(void)
{
    fixture *f = fixture_new(1 << 16, 1);
    fixture_fill(f, 20, 100);
    sc_outgoing *o = sc_outgoing_new(session, 4, 1472);
    uint32_t length;
    CHECK(sc_outgoing_fill(o, &f->segment, 5, 9) == 10); /* not past `last` */
    CHECK(sc_get_be16(sc_outgoing_datagram(o, 0, &length) + 18) == 5);
    CHECK(sc_outgoing_fill(o, &f->segment, 15, 900) == 21); /* not past the segment */
    CHECK(sc_outgoing_fill(o, &f->segment, 21, 900) == 21); /* nothing there */
    CHECK(sc_outgoing_count(o) == 0 && sc_outgoing_datagram(o, 0, &length) == NULL);
    CHECK(sc_outgoing_fill(o, &f->segment, 0, 900) == 0);
    CHECK(sc_outgoing_fill(o, &f->segment, 9, 8) == 9);
    sc_outgoing_free(o);

    o = sc_outgoing_new(session, 4, 100); /* a record of 128 bytes does not fit */
    CHECK(sc_outgoing_fill(o, &f->segment, 1, 20) == 1 && sc_outgoing_count(o) == 0);
    sc_outgoing_free(o);
    CHECK(sc_outgoing_new(session, 0, 1472) == NULL);
    CHECK(sc_outgoing_new(session, 1, 21) == NULL);
    fixture_free(f);
}

static void goes_on_in_the_next_segment(void)
{
    /* The position kept from the last fill must not be used for another segment at the same address. */
    fixture *f = fixture_new(1 << 16, 1);
    fixture_fill(f, 10, 50);
    sc_outgoing *o = sc_outgoing_new(session, 4, 1472);
    CHECK(sc_outgoing_fill(o, &f->segment, 1, 10) == 11);
    memset(f->bytes, 0, 1 << 16);
    f->segment.first = 11;
    f->segment.count = 0;
    f->segment.end = SC_SEGMENT_HEADER_BYTES;
    fixture_fill(f, 10, 70);
    CHECK(sc_outgoing_fill(o, &f->segment, 11, 20) == 21);
    uint32_t length;
    const uint8_t *packet = sc_outgoing_datagram(o, 0, &length);
    CHECK(check_packet(f, packet, length, 11, 1472) == 21);
    sc_outgoing_free(o);
    fixture_free(f);
}

/* Two sockets, the first connected to the second: of UDP on loopback, or of this process. */
static void connected(int pair[2], int udp)
{
    if (!udp) {
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
        return;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    pair[0] = socket(AF_INET, SOCK_DGRAM, 0);
    pair[1] = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(pair[1], (struct sockaddr *)&address, size) == 0);
    CHECK(getsockname(pair[1], (struct sockaddr *)&address, &size) == 0);
    CHECK(connect(pair[0], (struct sockaddr *)&address, size) == 0);
}

/* Sends runs of records of the given lengths, `each` of a length, and wants back the very datagrams that were
 * packed, in order; a quarter of each batch goes first, as if the socket had been full then. */
static void sends_what_it_packed(int udp, uint32_t each, const uint32_t *lengths, uint32_t kinds,
                                 uint32_t datagrams, uint32_t datagram_bytes)
{
    int pair[2];
    connected(pair, udp);
    int segmented = sc_udp_segments(pair[0]);
    CHECK(segmented == udp);
    fixture *f = fixture_new(1 << 20, 1);
    for (uint32_t i = 0; i < kinds; i++)
        fixture_fill(f, each, lengths[i]);
    uint64_t last = f->segment.first + f->segment.count - 1, number = 1;
    CHECK(last == (uint64_t)each * kinds);
    sc_outgoing *o = sc_outgoing_new(session, datagrams, datagram_bytes);
    while (number <= last) {
        uint64_t following = sc_outgoing_fill(o, &f->segment, number, last);
        uint32_t count = sc_outgoing_count(o), from = count / 4;
        CHECK(count > 0);
        for (uint32_t i = 0; i < from; i++) {
            uint32_t length;
            const uint8_t *datagram = sc_outgoing_datagram(o, i, &length);
            CHECK(send(pair[0], datagram, length, 0) == (ssize_t)length);
        }
        CHECK(sc_outgoing_send(o, pair[0], from, segmented) == (int)(count - from));
        CHECK(sc_outgoing_send(o, pair[0], count, segmented) == 0);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t packet[9000];
            uint32_t packed;
            const uint8_t *datagram = sc_outgoing_datagram(o, i, &packed);
            ssize_t length = recv(pair[1], packet, sizeof packet, MSG_DONTWAIT);
            CHECK(length == (ssize_t)packed && memcmp(packet, datagram, packed) == 0);
            number = check_packet(f, packet, (uint32_t)length, number, datagram_bytes);
        }
        CHECK(number == following);
    }
    uint8_t more;
    CHECK(recv(pair[1], &more, 1, MSG_DONTWAIT) < 0);
    CHECK(sc_outgoing_send(o, -1, 0, segmented) == -EBADF);
    sc_outgoing_free(o);
    fixture_free(f);
    close(pair[0]);
    close(pair[1]);
}

/* Length of the downstream packet at `packet`. */
static uint32_t packet_length(const uint8_t *packet)
{
    uint32_t at = 20;
    for (uint32_t left = sc_get_be16(packet + 18); left > 0; left--)
        at += 2u + sc_get_be16(packet + at);
    return at;
}

/* A full socket takes a part of a batch: whole runs, and the rest goes on behind them. The socket is not one
 * of UDP, so a run comes as it was handed over. */
static void goes_on_where_the_socket_was_full(int segmented)
{
    static uint8_t run[1 << 16];
    int pair[2], partial = 0;
    connected(pair, 0);
    fixture *f = fixture_new(1 << 20, 1);
    for (uint32_t i = 0; i < 60; i++)
        fixture_fill(f, 20, i < 25 ? 100 : 100 + 30 * (i % 3));
    sc_outgoing *o = sc_outgoing_new(session, 250, 1000);
    uint64_t number = 1;
    uint64_t following = sc_outgoing_fill(o, &f->segment, 1, 1200);
    uint32_t count = sc_outgoing_count(o), at = 0, received = 0;
    CHECK(following == 1201 && count > 100);
    while (at < count) {
        int sent = sc_outgoing_send(o, pair[0], at, segmented);
        CHECK(sent > 0);
        at += (uint32_t)sent;
        partial += at < count;
        ssize_t length;
        while ((length = recv(pair[1], run, sizeof run, MSG_DONTWAIT)) > 0) {
            uint32_t datagrams = 0;
            for (uint32_t offset = 0; offset < length; datagrams++) {
                uint32_t each = packet_length(run + offset);
                number = check_packet(f, run + offset, each, number, 1000);
                offset += each;
            }
            CHECK(datagrams <= 64 && length <= 65507); /* what every kernel takes */
            received += datagrams;
        }
        CHECK(received == at);
    }
    CHECK(number == following && partial > 0);
    sc_outgoing_free(o);
    fixture_free(f);
    close(pair[0]);
    close(pair[1]);
}

static void packs_replies(void)
{
    fixture *f = fixture_new(1 << 16, 7);
    fixture_fill(f, 20, 100);
    uint8_t out[1452];
    uint32_t length;
    CHECK(sc_pack_blocks(&f->segment, 10, 12, out, sizeof out, &length) == 3 && length == 3 * 130);
    CHECK(sc_record_check(out + 2, 128, 10) == 0);
    CHECK(sc_pack_blocks(&f->segment, 7, 26, out, sizeof out, &length) == 11);
    CHECK(sc_pack_blocks(&f->segment, 7, 26, out, 129, &length) == 0 && length == 0);
    CHECK(sc_pack_blocks(&f->segment, 27, 30, out, sizeof out, &length) == 0 && length == 0);
    CHECK(sc_pack_blocks(&f->segment, 6, 30, out, sizeof out, &length) == 0);
    fixture_free(f);
}

int main(void)
{
    packs_all(1472, 64, 200);
    packs_all(1472, 2, 17);
    packs_all(230, 3, 180);
    stops_where_it_must();
    goes_on_in_the_next_segment();
    static const uint32_t lengths[] = {200, 17, 600, 601, 600, 1, 200, 0};
    for (int udp = 0; udp < 2; udp++) {
        sends_what_it_packed(udp, 30, lengths, 1, 8, 1472);
        goes_on_where_the_socket_was_full(udp);
    }
    sends_what_it_packed(1, 60, lengths, 8, 64, 1472);
    sends_what_it_packed(1, 100, lengths, 8, 80, 660); /* one record in most: more than a send may have */
    sends_what_it_packed(1, 60, lengths, 8, 20, 8972);
    sends_what_it_packed(1, 1, lengths, 8, 20, 700); /* runs of one */
    CHECK(sc_udp_segment_refused(EIO) && !sc_udp_segment_refused(EAGAIN) && !sc_udp_segment_refused(ENOBUFS));
    packs_replies();
    return 0;
}

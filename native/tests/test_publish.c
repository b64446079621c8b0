/* Packing records into downstream packets: every record once, whole, in order, never above the limit. */
#include "bytes.h"
#include "publish.h"
#include "segment_fixture.h"

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

static void sends_what_it_packed(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    fixture *f = fixture_new(1 << 16, 1);
    fixture_fill(f, 30, 200);
    sc_outgoing *o = sc_outgoing_new(session, 8, 1472);
    CHECK(sc_outgoing_fill(o, &f->segment, 1, 30) == 31);
    uint32_t count = sc_outgoing_count(o);
    CHECK(count == 5);
    CHECK(sc_outgoing_send(o, pair[0], 0) == (int)count);
    CHECK(sc_outgoing_send(o, pair[0], count) == 0);
    uint64_t number = 1;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t packet[2048];
        ssize_t length = recv(pair[1], packet, sizeof packet, 0);
        CHECK(length > 0);
        number = check_packet(f, packet, (uint32_t)length, number, 1472);
    }
    CHECK(number == 31);
    CHECK(sc_outgoing_send(o, -1, 0) < 0);
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
    sends_what_it_packed();
    packs_replies();
    return 0;
}

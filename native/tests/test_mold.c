#include "mold.h"

#include "check.h"

static const uint8_t SESSION[10] = "SESS000001";

/* Golden vectors: laid out by hand from the specifications' field tables. */
static const uint8_t DATA64[] = "SESS000001\0\0\0\0\0\0\0\1\0\2\0\5hello\0\0";
static const uint8_t HEARTBEAT64[] = "SESS000001\0\0\0\0\0\0\0\3\0\0";
static const uint8_t END64[] = "SESS000001\0\0\0\0\0\0\0\3\xff\xff";
static const uint8_t DATA32[] = "SESS000001\1\0\0\0\2\0\5\0hello\3\0bye";
static const uint8_t HEARTBEAT32[] = "SESS000001\3\0\0\0\0\0";
static const uint8_t END32[] = "SESS000001\3\0\0\0\1\0\0\0";

/* Decodes a copy that is exactly `length` long, so that the sanitizer sees every read beyond it. */
static int32_t decode(int32_t protocol, const uint8_t *data, uint32_t length, sc_mold_header *header,
                      sc_message *rows, uint32_t capacity)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    CHECK(copy != NULL);
    memcpy(copy, data, length);
    int32_t messages = sc_mold_decode(protocol, copy, length, header, rows, capacity);
    free(copy);
    return messages;
}

static void test_golden(void)
{
    sc_mold_header header;
    sc_message rows[4];
    CHECK(decode(SC_MOLDUDP64, DATA64, sizeof DATA64 - 1, &header, rows, 4) == 2);
    CHECK(header.number == 1 && header.blocks == 2 && header.ends == 0);
    CHECK(rows[0].number == 1 && rows[0].offset == 22 && rows[0].length == 5);
    CHECK(rows[1].number == 2 && rows[1].offset == 29 && rows[1].length == 0);
    CHECK(decode(SC_MOLDUDP64, HEARTBEAT64, sizeof HEARTBEAT64 - 1, &header, rows, 4) == 0);
    CHECK(header.number == 3 && header.blocks == 0 && header.ends == 0);
    CHECK(decode(SC_MOLDUDP64, END64, sizeof END64 - 1, &header, rows, 4) == 0);
    CHECK(header.number == 3 && header.blocks == 0 && header.ends == 1);

    CHECK(decode(SC_MOLDUDP, DATA32, sizeof DATA32 - 1, &header, rows, 4) == 2);
    CHECK(header.number == 1 && header.blocks == 2 && header.ends == 0);
    CHECK(rows[0].number == 1 && rows[0].offset == 18 && rows[0].length == 5);
    CHECK(rows[1].number == 2 && rows[1].offset == 25 && rows[1].length == 3);
    CHECK(decode(SC_MOLDUDP, HEARTBEAT32, sizeof HEARTBEAT32 - 1, &header, rows, 4) == 0);
    CHECK(header.number == 3 && header.ends == 0);
    CHECK(decode(SC_MOLDUDP, END32, sizeof END32 - 1, &header, rows, 4) == 0);
    CHECK(header.number == 3 && header.blocks == 1 && header.ends == 1);
}

static void test_marker_after_messages(void)
{
    static const uint8_t packet[] = "SESS000001\7\0\0\0\3\0\1\0a\0\0\1\0b";
    sc_mold_header header;
    sc_message rows[4];
    CHECK(decode(SC_MOLDUDP, packet, sizeof packet - 1, &header, rows, 4) == 1);
    CHECK(header.ends == 1 && rows[0].number == 7);
}

static void test_truncations(void)
{
    sc_mold_header header;
    sc_message rows[4];
    for (uint32_t length = 0; length < sizeof DATA64 - 1; length++) {
        int32_t code = decode(SC_MOLDUDP64, DATA64, length, &header, rows, 4);
        CHECK(code == (length < 20 ? SC_MOLD_SHORT : SC_MOLD_OVERRUN));
    }
    for (uint32_t length = 0; length < sizeof DATA32 - 1; length++) {
        int32_t code = decode(SC_MOLDUDP, DATA32, length, &header, rows, 4);
        CHECK(code == (length < 16 ? SC_MOLD_SHORT : SC_MOLD_OVERRUN));
    }
}

static void test_trailing_bytes_and_small_table(void)
{
    uint8_t padded[64] = {0};
    memcpy(padded, DATA64, sizeof DATA64 - 1);
    sc_mold_header header;
    sc_message rows[2] = {{0, 0, 0}, {99, 99, 99}};
    CHECK(decode(SC_MOLDUDP64, padded, sizeof padded, &header, rows, 1) == 2);
    CHECK(rows[0].offset == 22 && rows[1].number == 99);
    CHECK(decode(SC_MOLDUDP64, padded, sizeof padded, &header, NULL, 0) == 2);
}

static void test_pack(void)
{
    static const uint8_t base[] = "hellobye";
    const sc_message rows[] = {{0, 0, 5}, {0, 5, 3}, {0, 8, 0}};
    uint8_t out[64];
    uint32_t packed;
    CHECK(sc_mold_pack(SC_MOLDUDP, SESSION, 1, base, rows, 2, out, sizeof out, &packed) == 28);
    CHECK(packed == 2 && memcmp(out, DATA32, 28) == 0);
    const sc_message first_and_empty[] = {rows[0], rows[2]};
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, first_and_empty, 2, out, sizeof out, &packed) == 29);
    CHECK(packed == 2 && memcmp(out, DATA64, 29) == 0);

    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, rows, 2, out, 31, &packed) == 27 && packed == 1);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, rows, 2, out, 32, &packed) == 32 && packed == 2);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, rows, 2, out, 26, &packed) == 0 && packed == 0);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, rows, 2, out, 0, &packed) == 0 && packed == 0);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, rows, 0, out, 64, &packed) == 0 && packed == 0);
    /* a capacity that no datagram has does not overflow the result */
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, rows, 1, out, UINT32_MAX, &packed) == 27 &&
          packed == 1);
}

static void test_pack_refuses(void)
{
    static const uint8_t base[] = "hello";
    const sc_message good = {0, 0, 5}, empty = {0, 5, 0}, overlong = {0, 0, 65536};
    const sc_message then_empty[] = {good, empty}, then_overlong[] = {good, overlong}, goods[] = {good, good};
    uint8_t out[64];
    uint32_t packed;
    CHECK(sc_mold_pack(SC_MOLDUDP, SESSION, 1, base, &empty, 1, out, 64, &packed) == SC_MOLD_EMPTY);
    CHECK(sc_mold_pack(SC_MOLDUDP, SESSION, 1, base, then_empty, 2, out, 64, &packed) == 23 && packed == 1);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, &overlong, 1, out, 64, &packed) == SC_MOLD_LONG);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 1, base, then_overlong, 2, out, 64, &packed) == 27 &&
          packed == 1);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, 0, base, &good, 1, out, 64, &packed) == SC_MOLD_NUMBER);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, UINT64_MAX, base, &good, 1, out, 64, &packed) ==
          SC_MOLD_NUMBER);
    CHECK(sc_mold_pack(SC_MOLDUDP64, SESSION, UINT64_MAX - 1, base, goods, 2, out, 64, &packed) == 27);
    CHECK(packed == 1);
    CHECK(sc_mold_pack(SC_MOLDUDP, SESSION, UINT32_MAX, base, &good, 1, out, 64, &packed) == SC_MOLD_NUMBER);
    CHECK(sc_mold_pack(SC_MOLDUDP, SESSION, UINT32_MAX - 1, base, goods, 2, out, 64, &packed) == 23 &&
          packed == 1);
}

int main(void)
{
    test_golden();
    test_marker_after_messages();
    test_truncations();
    test_trailing_bytes_and_small_table();
    test_pack();
    test_pack_refuses();
    return 0;
}

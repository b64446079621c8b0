#include <string.h>

#include "check.h"
#include "feed.h"

#define ROWS 8

static const uint8_t *bytes(const char *text)
{
    return (const uint8_t *)text;
}

static int is_row(sc_message row, uint32_t offset, uint32_t length)
{
    return row.number == 0 && row.offset == offset && row.length == length;
}

static void test_binaryfile_splits_and_names_why_it_stopped(void)
{
    static const char data[] = "\x00\x05hello\x00\x01x\x00\x00\x00\x03"
                               "abc";
    sc_message rows[ROWS];
    uint32_t consumed;
    int32_t stop;

    CHECK(sc_feed_binaryfile(bytes(data), sizeof data - 1, 65535, rows, ROWS, &consumed, &stop) == 2);
    CHECK(stop == SC_FEED_END && consumed == 12);
    CHECK(is_row(rows[0], 2, 5) && is_row(rows[1], 9, 1));

    /* The rows are full exactly before the marker: the next call meets it. */
    CHECK(sc_feed_binaryfile(bytes(data), 12, 65535, rows, 2, &consumed, &stop) == 2);
    CHECK(stop == SC_FEED_FULL && consumed == 10);
    CHECK(sc_feed_binaryfile(bytes(data) + 10, 2, 65535, rows, 2, &consumed, &stop) == 0);
    CHECK(stop == SC_FEED_END && consumed == 2);

    CHECK(sc_feed_binaryfile(bytes(data), 12, 65535, rows, 0, &consumed, &stop) == 0);
    CHECK(stop == SC_FEED_FULL && consumed == 0);
    CHECK(sc_feed_binaryfile(NULL, 0, 65535, rows, ROWS, &consumed, &stop) == 0);
    CHECK(stop == SC_FEED_MORE && consumed == 0);
}

static void test_binaryfile_every_truncation(void)
{
    static const char data[] = "\x00\x05hello\x00\x01x\x00\x00";
    for (uint32_t length = 0; length < sizeof data - 1; length++) {
        sc_message rows[ROWS];
        uint32_t consumed;
        int32_t stop;
        uint32_t whole = length < 7 ? 0 : length < 10 ? 1 : 2;
        CHECK(sc_feed_binaryfile(bytes(data), length, 65535, rows, ROWS, &consumed, &stop) == whole);
        CHECK(stop == SC_FEED_MORE);
        CHECK(consumed == (whole == 0 ? 0u : whole == 1 ? 7u : 10u));
    }
}

static void test_binaryfile_limit(void)
{
    static const char data[] = "\x00\x01x\x00\x05";
    sc_message rows[ROWS];
    uint32_t consumed;
    int32_t stop;

    /* The length field alone condemns the message: its bytes need not be there. */
    CHECK(sc_feed_binaryfile(bytes(data), 5, 4, rows, ROWS, &consumed, &stop) == 1);
    CHECK(stop == SC_FEED_LONG && consumed == 3);
    CHECK(sc_feed_binaryfile(bytes(data), 5, 5, rows, ROWS, &consumed, &stop) == 1);
    CHECK(stop == SC_FEED_MORE && consumed == 3);
}

static void test_lines(void)
{
    static const char data[] = "one\n\ntwo\r\nthree";
    sc_message rows[ROWS];
    uint32_t consumed;
    int32_t stop;

    CHECK(sc_feed_lines(bytes(data), 15, 0, 100, rows, ROWS, &consumed, &stop) == 3);
    CHECK(stop == SC_FEED_MORE && consumed == 10);
    CHECK(is_row(rows[0], 0, 3) && is_row(rows[1], 4, 0) && is_row(rows[2], 5, 4));

    CHECK(sc_feed_lines(bytes(data), 15, 1, 100, rows, ROWS, &consumed, &stop) == 4);
    CHECK(stop == SC_FEED_MORE && consumed == 15);
    CHECK(is_row(rows[3], 10, 5));

    CHECK(sc_feed_lines(bytes(data), 15, 1, 100, rows, 3, &consumed, &stop) == 3);
    CHECK(stop == SC_FEED_FULL && consumed == 10);

    /* After a final LF there is no further, empty message. */
    CHECK(sc_feed_lines(bytes(data), 4, 1, 100, rows, ROWS, &consumed, &stop) == 1);
    CHECK(stop == SC_FEED_MORE && consumed == 4);
    CHECK(sc_feed_lines(NULL, 0, 1, 100, rows, ROWS, &consumed, &stop) == 0);
    CHECK(stop == SC_FEED_MORE && consumed == 0);
}

static void test_lines_limit(void)
{
    sc_message rows[ROWS];
    uint32_t consumed;
    int32_t stop;

    CHECK(sc_feed_lines(bytes("ab\nabc\n"), 7, 0, 2, rows, ROWS, &consumed, &stop) == 1);
    CHECK(stop == SC_FEED_LONG && consumed == 3);
    CHECK(sc_feed_lines(bytes("ab\nabc\n"), 7, 0, 3, rows, ROWS, &consumed, &stop) == 2);
    CHECK(stop == SC_FEED_MORE && consumed == 7);
    CHECK(sc_feed_lines(bytes("abc"), 3, 0, 2, rows, ROWS, &consumed, &stop) == 0);
    CHECK(stop == SC_FEED_LONG && consumed == 0);
    CHECK(sc_feed_lines(bytes("ab"), 2, 0, 2, rows, ROWS, &consumed, &stop) == 0);
    CHECK(stop == SC_FEED_MORE && consumed == 0);
}

static void test_packing(void)
{
    static const char base[] = "hello\xff"
                               "a\nb";
    const sc_message rows[] = {{0, 0, 5}, {0, 5, 1}, {0, 6, 3}, {0, 0, 0}};
    uint8_t out[64];
    uint32_t packed;

    CHECK(sc_feed_pack_binaryfile(bytes(base), rows, 3, out, sizeof out, &packed) == 15 && packed == 3);
    CHECK(memcmp(out,
                 "\x00\x05hello\x00\x01\xff\x00\x03"
                 "a\nb",
                 15) == 0);
    CHECK(sc_feed_pack_lines(bytes(base), rows, 2, out, sizeof out, &packed) == 8 && packed == 2);
    CHECK(memcmp(out, "hello\n\xff\n", 8) == 0);
    CHECK(sc_feed_pack_hex(bytes(base), rows, 4, out, sizeof out, &packed) == 22 && packed == 4);
    CHECK(memcmp(out, "68656c6c6f\nff\n610a62\n\n", 22) == 0);
    CHECK(sc_feed_pack_lines(bytes(base), rows + 3, 1, out, sizeof out, &packed) == 1 && packed == 1);
    CHECK(out[0] == '\n');
}

static void test_packing_takes_what_fits(void)
{
    static const char base[] = "hello!";
    const sc_message rows[] = {{0, 0, 5}, {0, 5, 1}};
    uint8_t out[16];

    for (uint32_t capacity = 0; capacity <= 14; capacity++) {
        uint32_t packed;
        int64_t length = sc_feed_pack_binaryfile(bytes(base), rows, 2, out, capacity, &packed);
        CHECK(packed == (capacity < 7 ? 0u : capacity < 10 ? 1u : 2u));
        CHECK(length == (packed == 0 ? 0 : packed == 1 ? 7 : 10));
        length = sc_feed_pack_lines(bytes(base), rows, 2, out, capacity, &packed);
        CHECK(packed == (capacity < 6 ? 0u : capacity < 8 ? 1u : 2u));
        CHECK(length == (packed == 0 ? 0 : packed == 1 ? 6 : 8));
        length = sc_feed_pack_hex(bytes(base), rows, 2, out, capacity, &packed);
        CHECK(packed == (capacity < 11 ? 0u : capacity < 14 ? 1u : 2u));
        CHECK(length == (packed == 0 ? 0 : packed == 1 ? 11 : 14));
    }
}

static void test_packing_refuses(void)
{
    static uint8_t base[65536];
    const sc_message empty[] = {{0, 0, 1}, {0, 0, 0}};
    const sc_message overlong[] = {{0, 0, 1}, {0, 0, 65536}};
    const sc_message line_feed[] = {{0, 0, 1}, {0, 0, 3}};
    uint8_t out[64];
    uint32_t packed;

    base[2] = '\n';
    /* What stands in front of the bad row gets out; then the bad row is named. */
    CHECK(sc_feed_pack_binaryfile(base, empty, 2, out, sizeof out, &packed) == 3 && packed == 1);
    CHECK(sc_feed_pack_binaryfile(base, empty + 1, 1, out, sizeof out, &packed) == SC_FEED_EMPTY);
    CHECK(packed == 0);
    CHECK(sc_feed_pack_binaryfile(base, overlong, 2, out, sizeof out, &packed) == 3 && packed == 1);
    CHECK(sc_feed_pack_binaryfile(base, overlong + 1, 1, out, sizeof out, &packed) == SC_FEED_OVERLONG);
    CHECK(packed == 0);
    CHECK(sc_feed_pack_lines(base, line_feed, 2, out, sizeof out, &packed) == 2 && packed == 1);
    CHECK(sc_feed_pack_lines(base, line_feed + 1, 1, out, sizeof out, &packed) == SC_FEED_LINE_FEED);
    CHECK(packed == 0);
}

static void test_largest_binaryfile_message(void)
{
    static uint8_t base[65535];
    static uint8_t out[65537];
    const sc_message row = {0, 0, 65535};
    sc_message rows[1];
    uint32_t packed;
    uint32_t consumed;
    int32_t stop;

    base[65534] = 7;
    CHECK(sc_feed_pack_binaryfile(base, &row, 1, out, sizeof out, &packed) == 65537 && packed == 1);
    CHECK(sc_feed_binaryfile(out, sizeof out, 65535, rows, 1, &consumed, &stop) == 1);
    CHECK(consumed == 65537 && is_row(rows[0], 2, 65535) && out[65536] == 7);
}

int main(void)
{
    test_binaryfile_splits_and_names_why_it_stopped();
    test_binaryfile_every_truncation();
    test_binaryfile_limit();
    test_lines();
    test_lines_limit();
    test_packing();
    test_packing_takes_what_fits();
    test_packing_refuses();
    test_largest_binaryfile_message();
    return 0;
}

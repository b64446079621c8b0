#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "soup.h"

#define ROWS 8

static const uint8_t *bytes(const char *text)
{
    return (const uint8_t *)text;
}

static int is_row(sc_message row, uint64_t number, uint32_t offset, uint32_t length)
{
    return row.number == number && row.offset == offset && row.length == length;
}

/* "one", empty, heartbeat, "two": golden vectors of the specification's packet layout. */
static const char binary[] = "\x00\x04Sone\x00\x01S\x00\x01H\x00\x04Stwo";
static const char lines[] = "Sone\nS\nH\nStwo\n";

static void test_a_run_ends_at_another_type(void)
{
    sc_message rows[ROWS];
    uint32_t consumed;

    CHECK(sc_soup_run(bytes(binary), sizeof binary - 1, 'S', 7, rows, ROWS, &consumed) == 2);
    CHECK(consumed == 9 && is_row(rows[0], 7, 3, 3) && is_row(rows[1], 8, 9, 0));
    CHECK(sc_soup_run(bytes(binary) + 9, 3, 'H', 0, rows, ROWS, &consumed) == 1);
    CHECK(consumed == 3 && is_row(rows[0], 0, 3, 0));
    CHECK(sc_soup_run(bytes(binary), sizeof binary - 1, 'U', 7, rows, ROWS, &consumed) == 0 && consumed == 0);

    CHECK(sc_soup_line_run(bytes(lines), sizeof lines - 1, 'S', 7, 0, rows, ROWS, &consumed) == 2);
    CHECK(consumed == 7 && is_row(rows[0], 7, 1, 3) && is_row(rows[1], 8, 6, 0));
    CHECK(sc_soup_line_run(bytes(lines), sizeof lines - 1, 'S', 7, 1, rows, ROWS, &consumed) == 1);
    CHECK(consumed == 5);
}

static void test_a_run_ends_at_the_capacity_and_numbers_wrap(void)
{
    sc_message rows[ROWS];
    uint32_t consumed;

    CHECK(sc_soup_run(bytes(binary), sizeof binary - 1, 'S', UINT64_MAX, rows, 1, &consumed) == 1);
    CHECK(consumed == 6 && rows[0].number == UINT64_MAX);
    CHECK(sc_soup_run(bytes(binary), sizeof binary - 1, 'S', UINT64_MAX, rows, 2, &consumed) == 2);
    CHECK(rows[1].number == 0);
    CHECK(sc_soup_run(bytes(binary), sizeof binary - 1, 'S', 1, rows, 0, &consumed) == 0 && consumed == 0);
    CHECK(sc_soup_run(NULL, 0, 'S', 1, rows, ROWS, &consumed) == 0 && consumed == 0);
    CHECK(sc_soup_line_run(bytes(lines), sizeof lines - 1, 'S', 1, 0, rows, 1, &consumed) == 1);
    CHECK(sc_soup_line_run(NULL, 0, 'S', 1, 0, rows, ROWS, &consumed) == 0 && consumed == 0);
}

/* Each copy has exactly the bytes it may read, so that the address sanitizer sees one byte more. */
static void test_every_truncation(void)
{
    for (uint32_t length = 0; length < sizeof binary; length++) {
        uint8_t *exact = malloc(length ? length : 1);
        sc_message rows[ROWS];
        uint32_t consumed;
        uint32_t whole = length >= 9 ? 2 : length >= 6 ? 1 : 0;
        uint64_t skipped = length >= 18 ? 18 : length >= 12 ? 12 : length >= 9 ? 9 : length >= 6 ? 6 : 0;

        memcpy(exact, binary, length);
        CHECK(sc_soup_run(exact, length, 'S', 1, rows, ROWS, &consumed) == whole);
        CHECK(consumed == (whole == 2 ? 9u : whole == 1 ? 6u : 0u));
        CHECK(sc_soup_skip(exact, length, UINT64_MAX) == skipped);
        free(exact);
    }
    for (uint32_t length = 0; length < sizeof lines; length++) {
        uint8_t *exact = malloc(length ? length : 1);
        sc_message rows[ROWS];
        uint32_t consumed;
        uint32_t whole = length >= 7 ? 2 : length >= 5 ? 1 : 0;
        uint64_t skipped = length >= 14 ? 14 : length >= 9 ? 9 : length >= 7 ? 7 : length >= 5 ? 5 : 0;

        memcpy(exact, lines, length);
        CHECK(sc_soup_line_run(exact, length, 'S', 1, 0, rows, ROWS, &consumed) == whole);
        CHECK(sc_soup_line_skip(exact, length, UINT64_MAX) == skipped);
        free(exact);
    }
}

static void test_packets_no_session_takes_end_a_run(void)
{
    sc_message rows[ROWS];
    uint32_t consumed;

    CHECK(sc_soup_run(bytes("\x00\x00S"), 3, 'S', 1, rows, ROWS, &consumed) == 0 && consumed == 0);
    CHECK(sc_soup_run(bytes("\x00\x01S\x00\x00S"), 6, 'S', 1, rows, ROWS, &consumed) == 1 && consumed == 3);
    CHECK(sc_soup_skip(bytes("\x00\x01S\x00\x00S"), 6, 9) == 3);
    CHECK(sc_soup_line_run(bytes("\n\n"), 2, '\n', 1, 0, rows, ROWS, &consumed) == 0 && consumed == 0);
    CHECK(sc_soup_line_skip(bytes("Sa\n\nSb\n"), 7, 9) == 3);
}

static void test_a_line_has_the_limit_of_a_binary_packet(void)
{
    static uint8_t line[1 + SC_SOUP_PAYLOAD_LIMIT + 2];
    sc_message rows[ROWS];
    uint32_t consumed;

    memset(line, 'S', sizeof line);
    line[1 + SC_SOUP_PAYLOAD_LIMIT] = '\n';
    CHECK(sc_soup_line_run(line, sizeof line, 'S', 1, 0, rows, ROWS, &consumed) == 1);
    CHECK(rows[0].length == SC_SOUP_PAYLOAD_LIMIT && consumed == sizeof line - 1);
    CHECK(sc_soup_line_skip(line, sizeof line, 9) == sizeof line - 1);
    line[1 + SC_SOUP_PAYLOAD_LIMIT] = 'S';
    line[2 + SC_SOUP_PAYLOAD_LIMIT] = '\n';
    CHECK(sc_soup_line_run(line, sizeof line, 'S', 1, 0, rows, ROWS, &consumed) == 0 && consumed == 0);
    CHECK(sc_soup_line_skip(line, sizeof line, 9) == 0);
}

static void test_skip_counts(void)
{
    CHECK(sc_soup_skip(bytes(binary), sizeof binary - 1, 0) == 0);
    CHECK(sc_soup_skip(bytes(binary), sizeof binary - 1, 1) == 6);
    CHECK(sc_soup_skip(bytes(binary), sizeof binary - 1, 3) == 12);
    CHECK(sc_soup_skip(bytes(binary), sizeof binary - 1, 5) == 18);
    CHECK(sc_soup_skip(NULL, 0, 5) == 0);
    CHECK(sc_soup_line_skip(bytes(lines), sizeof lines - 1, 3) == 9);
    CHECK(sc_soup_line_skip(NULL, 0, 3) == 0);
}

static void test_packing_restores_what_was_split(void)
{
    const sc_message rows[] = {{0, 0, 3}, {0, 3, 0}, {0, 3, 3}};
    uint8_t out[32];
    uint32_t packed;

    CHECK(sc_soup_packed_bytes(rows, 3, SC_SOUP_HEADER_BYTES) == 15);
    CHECK(sc_soup_pack('S', bytes("onetwo"), rows, 3, out, sizeof out, &packed) == 15 && packed == 3);
    CHECK(memcmp(out, "\x00\x04Sone\x00\x01S\x00\x04Stwo", 15) == 0);
    CHECK(sc_soup_pack('S', bytes("onetwo"), rows, 3, out, 14, &packed) == 9 && packed == 2);
    CHECK(sc_soup_pack('S', bytes("onetwo"), rows, 3, out, 5, &packed) == 0 && packed == 0);
    CHECK(sc_soup_pack('S', bytes("onetwo"), rows, 0, out, 0, &packed) == 0 && packed == 0);

    CHECK(sc_soup_packed_bytes(rows, 3, SC_SOUP_LINE_OVERHEAD) == 12);
    CHECK(sc_soup_line_pack('U', bytes("onetwo"), rows, 3, out, 12, &packed) == 12 && packed == 3);
    CHECK(memcmp(out, "Uone\nU\nUtwo\n", 12) == 0);
    CHECK(sc_soup_line_pack('U', bytes("onetwo"), rows, 3, out, 11, &packed) == 7 && packed == 2);
}

static void test_rows_that_cannot_be_carried(void)
{
    static uint8_t large[SC_SOUP_PAYLOAD_LIMIT + 1];
    static uint8_t out[SC_SOUP_PAYLOAD_LIMIT + 16];
    const sc_message rows[] = {{0, 0, 1}, {0, 0, SC_SOUP_PAYLOAD_LIMIT}, {0, 0, SC_SOUP_PAYLOAD_LIMIT + 1}};
    const sc_message huge = {0, 0, UINT32_MAX};
    uint32_t packed;

    CHECK(sc_soup_pack('S', large, rows, 3, out, sizeof out, &packed) == 4 + 65537 && packed == 2);
    CHECK(out[4] == 0xff && out[5] == 0xff);
    CHECK(sc_soup_pack('S', large, rows + 2, 1, out, sizeof out, &packed) == SC_SOUP_OVERLONG && packed == 0);
    CHECK(sc_soup_pack('S', large, &huge, 1, out, sizeof out, &packed) == SC_SOUP_OVERLONG);
    CHECK(sc_soup_line_pack('S', large, rows + 2, 1, out, sizeof out, &packed) == SC_SOUP_OVERLONG);
    CHECK(sc_soup_packed_bytes(&huge, 1, 3) == (uint64_t)UINT32_MAX + 3);

    const sc_message feeds[] = {{0, 0, 1}, {0, 1, 1}};
    CHECK(sc_soup_line_pack('S', bytes("a\n"), feeds, 2, out, sizeof out, &packed) == 3 && packed == 1);
    CHECK(sc_soup_line_pack('S', bytes("a\n"), feeds + 1, 1, out, sizeof out, &packed) == SC_SOUP_LINE_FEED);
    CHECK(packed == 0);
}

int main(void)
{
    test_a_run_ends_at_another_type();
    test_a_run_ends_at_the_capacity_and_numbers_wrap();
    test_every_truncation();
    test_packets_no_session_takes_end_a_run();
    test_a_line_has_the_limit_of_a_binary_packet();
    test_skip_counts();
    test_packing_restores_what_was_split();
    test_rows_that_cannot_be_carried();
    return 0;
}

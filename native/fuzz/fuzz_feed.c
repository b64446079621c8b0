/* Feeds: any bytes split without harm, the rows tile the input, cuts change nothing, and packing restores it.
 */
#include <stdlib.h>
#include <string.h>

#include "feed.h"

#define ROWS 64
#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

typedef struct {
    const uint8_t *data;
    uint32_t length;
    uint32_t limit;
    uint32_t capacity;
    int lines;
    int final;
} feed;

static uint32_t split(const feed *feed, sc_message *rows, uint32_t *consumed, int32_t *stop)
{
    if (feed->lines)
        return sc_feed_lines(feed->data, feed->length, feed->final, feed->limit, rows, feed->capacity,
                             consumed, stop);
    return sc_feed_binaryfile(feed->data, feed->length, feed->limit, rows, feed->capacity, consumed, stop);
}

static void check_rows(const feed *feed, const sc_message *rows, uint32_t count, uint32_t consumed,
                       int32_t stop)
{
    uint32_t position = 0;

    REQUIRE(count <= feed->capacity && consumed <= feed->length);
    REQUIRE(stop != SC_FEED_FULL || count == feed->capacity);
    REQUIRE(stop != SC_FEED_END || !feed->lines);
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(rows[i].number == 0 && rows[i].length <= feed->limit);
        REQUIRE(rows[i].offset == position + (feed->lines ? 0 : SC_FEED_HEADER_BYTES));
        position = rows[i].offset + rows[i].length;
        REQUIRE(position <= feed->length);
        if (feed->lines && position < feed->length)
            REQUIRE(feed->data[position++] == '\n');
    }
    REQUIRE(consumed == position + (stop == SC_FEED_END ? SC_FEED_HEADER_BYTES : 0));
}

static void check_packed(const feed *feed, const sc_message *rows, uint32_t count, uint32_t consumed,
                         int32_t stop)
{
    uint32_t capacity = feed->length + 1; /* a last line without LF gains one */
    uint8_t *out = malloc(capacity);
    uint32_t packed;
    int64_t length = feed->lines ? sc_feed_pack_lines(feed->data, rows, count, out, capacity, &packed)
                                 : sc_feed_pack_binaryfile(feed->data, rows, count, out, capacity, &packed);
    uint32_t framed = consumed - (stop == SC_FEED_END ? SC_FEED_HEADER_BYTES : 0);

    REQUIRE(packed == count);
    REQUIRE(memcmp(out, feed->data, framed) == 0);
    if (length != framed)
        REQUIRE(feed->final && length == (int64_t)framed + 1 && out[framed] == '\n');
    free(out);
}

/* A shorter view of the same data never shows other messages, only fewer. */
static void check_cut(const feed *whole, const sc_message *rows, uint32_t count, uint32_t cut)
{
    feed part = *whole;
    sc_message fewer[ROWS];
    uint32_t consumed;
    int32_t stop;

    part.length = cut;
    part.final = 0;
    uint32_t found = split(&part, fewer, &consumed, &stop);
    check_rows(&part, fewer, found, consumed, stop);
    REQUIRE(found <= count);
    REQUIRE(memcmp(fewer, rows, found * sizeof *rows) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    feed feed = {.data = data + 4,
                 .length = (uint32_t)(size - 4),
                 .limit = data[1] == 255 ? 65535u : data[1],
                 .capacity = data[2] % (ROWS + 1),
                 .lines = data[0] & 1,
                 .final = (data[0] & 3) == 3};
    sc_message rows[ROWS];
    uint32_t consumed;
    int32_t stop;
    uint32_t count = split(&feed, rows, &consumed, &stop);

    check_rows(&feed, rows, count, consumed, stop);
    check_packed(&feed, rows, count, consumed, stop);
    check_cut(&feed, rows, count, feed.length * data[3] / 256);

    uint8_t hex[256];
    uint32_t packed;
    int64_t length = sc_feed_pack_hex(feed.data, rows, count, hex, data[3], &packed);
    REQUIRE(length >= 0 && length <= data[3] && packed <= count);
    return 0;
}

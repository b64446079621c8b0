/* Segments: any file is scanned, searched, read, cut and cleared without harm, and what a scan takes up is
 * what a second scan, a follower and the reader see. The input is either the file itself, or a list of
 * records to append and a place to damage, which gets behind the CRC. */
#include <stdlib.h>
#include <string.h>

#include "segment.h"
#include "senders.h"

enum { CAPACITY = 8192, ENTRIES = CAPACITY / 31 / SC_SEGMENT_STRIDE + 1, ROWS = CAPACITY / 31 + 1 };

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static void begin(sc_segment *s, uint8_t *base, uint32_t *index)
{
    *s = (sc_segment){.base = base,
                      .capacity = CAPACITY,
                      .first = 0xFFFFFFF8u,
                      .end = SC_SEGMENT_HEADER_BYTES,
                      .index = index,
                      .index_capacity = ENTRIES};
}

static void scan_to(sc_segment *s, uint64_t count)
{
    while (sc_segment_scan(s, NULL, count) == SC_STOP_CONTROL)
        ;
    REQUIRE(s->count == count);
}

static int scan_all(sc_segment *s, sc_senders *senders)
{
    int stop;
    do
        stop = sc_segment_scan(s, senders, UINT64_MAX);
    while (stop == SC_STOP_CONTROL);
    REQUIRE(stop != SC_STOP_NONE && s->end <= s->capacity);
    return stop;
}

/* Appends records whose lengths and times come from the input; damages one byte.. */
static void compose(uint8_t *base, const uint8_t *data, size_t size)
{
    uint32_t index[ENTRIES];
    sc_segment s;
    begin(&s, base, index);
    sc_stamp stamp = {.sender = "FUZZ", .flags = 3};
    memset(stamp.sender + 4, ' ', 2);
    size_t i = 4;
    for (; i + 2 <= size; i += 2) {
        uint32_t length = data[i];
        stamp.time += data[i + 1] & 7;
        stamp.kind = data[i + 1] >> 6;
        stamp.sender[0] = (uint8_t)('A' + (data[i + 1] >> 3 & 7));
        stamp.sender_sequence++;
        if (length > size || sc_segment_append(&s, data, length, &stamp) != 0)
            break;
    }
    uint32_t place = (uint32_t)data[1] << 8 | data[2];
    if (place < CAPACITY)
        base[place] ^= data[3];
}

static void check_follower(const sc_segment *s, const sc_message *rows, uint32_t count,
                           const sc_senders *senders)
{
    static uint8_t copy[CAPACITY];
    uint32_t index[ENTRIES];
    sc_segment follower;
    sc_senders *theirs = sc_senders_new(4);
    REQUIRE(theirs != NULL);
    begin(&follower, copy, index);
    for (uint32_t done = 0; done < count;) {
        int stop;
        done += sc_segment_append_records(&follower, theirs, s->base, rows + done, count - done, &stop);
        REQUIRE(stop == SC_STOP_CONTROL || (stop == SC_STOP_NONE && done == count));
    }
    REQUIRE(follower.end == s->end && follower.count == s->count && follower.last_time == s->last_time);
    REQUIRE(memcmp(copy + SC_SEGMENT_HEADER_BYTES, s->base + SC_SEGMENT_HEADER_BYTES,
                   s->end - SC_SEGMENT_HEADER_BYTES) == 0);
    for (uint32_t slot = 0; slot < theirs->count; slot++)
        REQUIRE(memcmp(&theirs->rows[slot], &senders->rows[slot], sizeof(sc_sender)) == 0);
    memset(copy, 0, sizeof copy);
    sc_senders_free(theirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > CAPACITY)
        return 0;
    uint8_t *base = calloc(1, CAPACITY);
    uint32_t index[ENTRIES];
    static sc_message rows[ROWS];
    sc_segment s;
    sc_senders *senders = sc_senders_new(4);
    REQUIRE(base != NULL && senders != NULL);
    if (data[0] & 1)
        memcpy(base, data, size);
    else
        compose(base, data, size);

    begin(&s, base, index);
    scan_all(&s, senders);
    uint32_t count = sc_segment_rows(&s, s.first, ROWS, UINT64_MAX, rows);
    REQUIRE(count == s.count);
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(sc_record_check(base + rows[i].offset, rows[i].length, rows[i].number) == 0);
        REQUIRE(sc_segment_locate(&s, rows[i].number) == rows[i].offset - SC_FRAME_BYTES);
    }
    REQUIRE(sc_segment_locate(&s, s.first + count) == s.end);
    check_follower(&s, rows, count, senders);

    uint64_t number;
    int64_t found = sc_segment_search(&s, s.end, UINT64_MAX, &number);
    if (found > 0) {
        REQUIRE((uint64_t)found >= s.end && number > s.first + s.count);
        uint32_t length = (uint32_t)(base[found] << 8 | base[found + 1]) - 1;
        REQUIRE(sc_record_check(base + found + SC_FRAME_BYTES, length, number) == 0);
    }
    if (count > 0) {
        begin(&s, base, index);
        scan_to(&s, data[3] % count);
        sc_segment_clear(&s, UINT64_MAX);
        uint64_t end = s.end;
        begin(&s, base, index);
        REQUIRE(scan_all(&s, NULL) == SC_STOP_EMPTY && s.end == end);
    }
    free(base);
    sc_senders_free(senders);
    return 0;
}

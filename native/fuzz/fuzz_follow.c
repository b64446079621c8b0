/* The follower's kernel over what a peer made up: it reads nothing behind the end, takes whole packets only,
 * and what it appends is a good record. The input is sliced: most slices are good records or commit numbers,
 * so that some of it is taken, and what is in them is noise now and then. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "follow.h"
#include "record.h"
#include "soup.h"

enum { SEGMENT = 1 << 12, INDEX = 64, STREAM = 1 << 15, FIRST = 7, EPOCH = 2 };

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A packet made of a slice of the input; returns its length. */
static uint32_t make_packet(uint8_t *out, uint64_t *number, uint8_t choice, const uint8_t *slice,
                            uint32_t length)
{
    uint8_t *payload = out + SC_SOUP_HEADER_BYTES;
    uint32_t bytes = length;
    memcpy(payload, slice, length);
    out[2] = 'S';
    if (choice % 4 < 2) {
        sc_stamp stamp = {.time = *number, .sender_sequence = *number, .kind = choice % 16 == 0};
        memcpy(stamp.sender, "FUZZ  ", SC_SENDER_BYTES);
        sc_record_stamp(payload, length, *number, &stamp);
        bytes += SC_STAMP_BYTES;
        *number += choice % 32 != 1;
    } else if (choice % 4 == 2) {
        out[2] = 'U';
        payload[0] = 'C';
        sc_put_be64(payload + 1, EPOCH);
        sc_put_be64(payload + 9, length > 0 ? slice[0] : 0);
        bytes = SC_COMMIT_BYTES;
    }
    sc_put_be16(out, (uint16_t)(bytes + 1));
    return bytes + SC_SOUP_HEADER_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[SEGMENT], made[STREAM + 512];
    static uint32_t index[INDEX];
    uint32_t length = 0;
    uint64_t next = FIRST;
    memset(bytes, 0, sizeof bytes);
    for (size_t at = 0; at + 2 <= size && length < STREAM;) {
        uint8_t choice = data[at], wanted = data[at + 1];
        at += 2;
        uint32_t slice = (uint32_t)(wanted < size - at ? wanted : size - at);
        length += make_packet(made + length, &next, choice, data + at, slice);
        at += slice;
    }
    if (size > 0 && data[size - 1] < length)
        length -= data[size - 1];
    uint8_t *stream = malloc(length ? length : 1); /* its own block, so that a read behind it is seen */
    sc_senders *senders = sc_senders_new(2);
    REQUIRE(stream != NULL && senders != NULL);
    memcpy(stream, made, length);

    sc_segment segment = {.base = bytes, .capacity = SEGMENT, .first = FIRST, .end = SC_SEGMENT_HEADER_BYTES};
    segment.index = index;
    segment.index_capacity = INDEX;
    sc_following following = {.commit = 5};
    int32_t stop = SC_STOP_CONTROL;
    uint32_t at = 0, records = 0;
    while (stop == SC_STOP_CONTROL) {
        stop = sc_follow(&segment, senders, stream + at, length - at, EPOCH, &following);
        at += following.consumed;
        records += following.records;
        REQUIRE(at <= length && following.commit >= 5);
        REQUIRE(stop != SC_STOP_CONTROL || following.records > 0);
    }
    REQUIRE(segment.count == records && segment.end <= SEGMENT);
    REQUIRE(sc_soup_skip(stream, at, UINT64_MAX) == at);
    sc_message rows[INDEX];
    uint32_t held = sc_segment_rows(&segment, FIRST, INDEX, SEGMENT, rows);
    for (uint32_t i = 0; i < held; i++)
        REQUIRE(sc_record_check(bytes + rows[i].offset, rows[i].length, FIRST + i) == 0);
    free(stream);
    sc_senders_free(senders);
    return 0;
}

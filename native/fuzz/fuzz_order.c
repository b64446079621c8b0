/* The ordering kernel over submissions that a peer made up: whatever is stamped is a good record, of the next
 * sender sequence, and nothing else reaches the log. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "order.h"
#include "record.h"

enum { ROWS = 64, SEGMENT = 1 << 14, PAYLOAD_LIMIT = 256, INDEX = 64 };

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[SEGMENT];
    static uint32_t index[INDEX];
    if (size > 8192)
        return 0;
    memset(bytes, 0, sizeof bytes);
    sc_segment segment = {.base = bytes, .capacity = 4096, .first = 7, .end = SC_SEGMENT_HEADER_BYTES};
    segment.index = index;
    segment.index_capacity = INDEX;
    sc_senders *senders = sc_senders_new(2);
    REQUIRE(senders != NULL && sc_senders_add(senders, (const uint8_t *)"FUZZ  ") == 0);

    /* Rows: a length byte, then that many bytes of packet; the sender sequence's upper bytes are cleared for
     * most, so that some follow each other. */
    uint8_t *packets = malloc(size + 1);
    REQUIRE(packets != NULL);
    memcpy(packets, data, size);
    sc_message rows[ROWS];
    uint32_t count = 0;
    for (size_t at = 0; at < size && count < ROWS;) {
        size_t length = packets[at++];
        if (length > size - at)
            length = size - at;
        if (length >= 8 && packets[at] % 8)
            memset(packets + at, 0, 7);
        rows[count++] = (sc_message){.number = 0, .offset = (uint32_t)at, .length = (uint32_t)length};
        at += length;
    }

    sc_order_result result;
    sc_order(&segment, senders, 0, 1000, PAYLOAD_LIMIT, packets, rows, count, &result);
    REQUIRE(result.taken <= count && result.stamped + result.duplicates == result.taken);
    REQUIRE((result.stop == SC_ORDER_ALL) == (result.taken == count));
    REQUIRE(segment.count == result.stamped && senders->rows[0].sequence == result.stamped);

    sc_message records[ROWS];
    REQUIRE(sc_segment_rows(&segment, 7, ROWS, SEGMENT, records) == result.stamped);
    for (uint32_t i = 0; i < result.stamped; i++) {
        sc_stamp stamp;
        const uint8_t *record = bytes + records[i].offset;
        REQUIRE(sc_record_check(record, records[i].length, 7 + i) == 0);
        sc_record_read(record, records[i].length, &stamp);
        REQUIRE(stamp.sender_sequence == i + 1 && stamp.kind == SC_KIND_DATA && stamp.flags <= 3);
        REQUIRE(records[i].length - SC_STAMP_BYTES <= PAYLOAD_LIMIT && stamp.time == 1000);
    }
    free(packets);
    sc_senders_free(senders);
    return 0;
}

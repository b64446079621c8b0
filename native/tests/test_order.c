/* The ordering kernel: what is stamped, what is recognised as a duplicate, and each reason to stop. */
#include "bytes.h"
#include "order.h"
#include "segment_fixture.h"

enum { LIMIT = 100 };

static uint8_t packets[4096];
static sc_message rows[64];
static uint32_t row_count, used;

static void begin(void)
{
    row_count = used = 0;
}

static void submit(uint64_t sequence, uint8_t flags, uint32_t payload_length)
{
    rows[row_count].offset = used;
    rows[row_count].length = SC_SUBMIT_HEADER_BYTES + payload_length;
    sc_put_be64(packets + used, sequence);
    packets[used + 8] = flags;
    memset(packets + used + 9, (int)(sequence & 0xFF), payload_length);
    used += rows[row_count++].length;
}

static sc_order_result order(fixture *f, sc_senders *senders, uint64_t time)
{
    sc_order_result result;
    int32_t slot = sc_senders_find(senders, (const uint8_t *)"ALPHA ");
    CHECK(slot >= 0);
    sc_order(&f->segment, senders, (uint32_t)slot, time, LIMIT, packets, rows, row_count, &result);
    return result;
}

static void stamps_in_order(fixture *f, sc_senders *senders)
{
    begin();
    for (uint64_t sequence = 1; sequence <= 5; sequence++)
        submit(sequence, 3, (uint32_t)sequence);
    sc_order_result result = order(f, senders, 777);
    CHECK(result.taken == 5 && result.stamped == 5 && result.duplicates == 0);
    CHECK(result.stop == SC_ORDER_ALL);
    CHECK(f->segment.count == 5);
    CHECK(senders->rows[0].sequence == 5 && senders->rows[0].number == f->segment.first + 4);
    sc_message records[5];
    CHECK(sc_segment_rows(&f->segment, f->segment.first, 5, 1 << 20, records) == 5);
    for (uint32_t i = 0; i < 5; i++) {
        const uint8_t *record = f->bytes + records[i].offset;
        CHECK(sc_record_check(record, records[i].length, f->segment.first + i) == 0);
        sc_stamp stamp;
        sc_record_read(record, records[i].length, &stamp);
        CHECK(stamp.time == 777 && stamp.sender_sequence == i + 1 && stamp.kind == SC_KIND_DATA);
        CHECK(stamp.flags == 3 && memcmp(stamp.sender, "ALPHA ", 6) == 0);
        CHECK(records[i].length == i + 1 + SC_STAMP_BYTES && record[0] == i + 1);
    }
    CHECK(senders->rows[0].sequence == 5 && senders->rows[0].number == f->segment.first + 4);
}

static void drops_duplicates_and_stops_at_holes(fixture *f, sc_senders *senders)
{
    begin();
    submit(4, 3, 1);
    submit(5, 3, 1);
    submit(6, 3, 1);
    submit(8, 3, 1);
    sc_order_result result = order(f, senders, 778);
    CHECK(result.taken == 3 && result.stamped == 1 && result.duplicates == 2);
    CHECK(result.stop == SC_ORDER_HOLE);
    CHECK(f->segment.count == 6);
}

static void refuses(fixture *f, sc_senders *senders, uint32_t last_row_length, int32_t expected)
{
    if (last_row_length)
        rows[row_count - 1].length = last_row_length;
    uint64_t before = f->segment.count;
    sc_order_result result = order(f, senders, 779);
    CHECK(result.taken == 0 && result.stamped == 0 && result.stop == expected);
    CHECK(f->segment.count == before);
}

static void refuses_what_breaks_the_rules(fixture *f, sc_senders *senders)
{
    for (uint32_t length = 0; length < SC_SUBMIT_HEADER_BYTES; length++) {
        begin();
        submit(7, 3, 4);
        if (length == 0)
            rows[0].length = 0;
        refuses(f, senders, length, SC_ORDER_SHORT);
    }
    begin();
    submit(0, 3, 1);
    refuses(f, senders, 0, SC_ORDER_ZERO);
    begin();
    submit(7, 4, 1);
    refuses(f, senders, 0, SC_ORDER_FLAGS);
    begin();
    submit(7, 3, LIMIT + 1);
    refuses(f, senders, 0, SC_ORDER_LONG);
    begin();
    submit(UINT64_MAX, 3, 1);
    refuses(f, senders, 0, SC_ORDER_HOLE);
}

static void accepts_empty_and_largest(fixture *f, sc_senders *senders)
{
    begin();
    submit(7, 3, 0);
    submit(8, 3, LIMIT);
    sc_order_result result = order(f, senders, 780);
    CHECK(result.stamped == 2 && result.stop == SC_ORDER_ALL);
}

static void stops_when_the_segment_is_full(void)
{
    fixture *f = fixture_new(SC_SEGMENT_HEADER_BYTES + 2 * (SC_FRAME_BYTES + 10 + SC_STAMP_BYTES), 1);
    sc_senders *senders = sc_senders_new(4);
    sc_senders_add(senders, (const uint8_t *)"ALPHA ");
    begin();
    for (uint64_t sequence = 1; sequence <= 3; sequence++)
        submit(sequence, 3, 10);
    sc_order_result result = order(f, senders, 1);
    CHECK(result.taken == 2 && result.stamped == 2 && result.stop == SC_ORDER_FULL);
    CHECK(senders->rows[0].sequence == 2);
    sc_senders_free(senders);
    fixture_free(f);
}

int main(void)
{
    fixture *f = fixture_new(1 << 16, 41);
    sc_senders *senders = sc_senders_new(4);
    CHECK(sc_senders_add(senders, (const uint8_t *)"ALPHA ") == 0);
    stamps_in_order(f, senders);
    drops_duplicates_and_stops_at_holes(f, senders);
    refuses_what_breaks_the_rules(f, senders);
    accepts_empty_and_largest(f, senders);
    sc_senders_free(senders);
    fixture_free(f);
    stops_when_the_segment_is_full();
    return 0;
}

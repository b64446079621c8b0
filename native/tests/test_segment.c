/* Segments: append, follow, locate, read, scan, search behind damage, clear. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "segment.h"
#include "senders.h"

enum { CAPACITY = 40000, RECORDS = 500 };

typedef struct {
    sc_segment s;
    uint32_t index[CAPACITY / 31 / SC_SEGMENT_STRIDE + 1];
} fixture;

static void begin(fixture *f, uint64_t first, uint64_t capacity)
{
    free(f->s.base);
    memset(&f->s, 0, sizeof f->s);
    f->s.base = calloc(1, capacity); /* exact, so that a read beyond the end is seen */
    CHECK(f->s.base != NULL);
    f->s.capacity = capacity;
    f->s.first = first;
    f->s.end = SC_SEGMENT_HEADER_BYTES;
    f->s.index = f->index;
    f->s.index_capacity = sizeof f->index / sizeof *f->index;
}

static sc_stamp stamp_of(uint64_t i)
{
    sc_stamp stamp = {.time = 1000 + i / 3, .sender_sequence = i + 1, .sender = "ALICE", .flags = 3};
    stamp.sender[5] = ' ';
    return stamp;
}

static uint32_t length_of(uint64_t i)
{
    return (uint32_t)(i * 7 % 50);
}

static void fill(fixture *f, uint64_t count)
{
    uint8_t payload[64];
    for (uint64_t i = 0; i < count; i++) {
        sc_stamp stamp = stamp_of(i);
        memset(payload, (int)('A' + i % 26), sizeof payload);
        CHECK(sc_segment_append(&f->s, payload, length_of(i), &stamp) == 0);
    }
}

/* Forgets what is held, and scans it again. */
static int rescan(sc_segment *s, uint64_t limit)
{
    s->count = 0;
    s->end = SC_SEGMENT_HEADER_BYTES;
    s->last_time = 0;
    memset(s->index, 0, s->index_capacity * sizeof *s->index);
    return sc_segment_scan(s, NULL, limit);
}

static void append_and_read(void)
{
    fixture f = {0};
    sc_message rows[RECORDS];
    begin(&f, 1000, CAPACITY);
    CHECK(sc_segment_locate(&f.s, 1000) == SC_SEGMENT_HEADER_BYTES);
    CHECK(sc_segment_rows(&f.s, 1000, 1, 1, rows) == 0);
    fill(&f, RECORDS);
    CHECK(f.s.count == RECORDS && f.s.last_time == 1000 + 499 / 3);
    CHECK(sc_segment_locate(&f.s, 999) == 0 && sc_segment_locate(&f.s, 1501) == 0);
    CHECK(sc_segment_locate(&f.s, 1500) == f.s.end);
    CHECK(sc_segment_rows(&f.s, 1000, RECORDS, UINT64_MAX, rows) == RECORDS);
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint8_t *frame = f.s.base + sc_segment_locate(&f.s, 1000 + i);
        CHECK(rows[i].number == 1000 + i && rows[i].length == length_of(i) + SC_STAMP_BYTES);
        CHECK(f.s.base + rows[i].offset == frame + SC_FRAME_BYTES && frame[2] == 'S');
        CHECK(sc_get_be16(frame) == rows[i].length + 1);
        CHECK(sc_record_check(f.s.base + rows[i].offset, rows[i].length, 1000 + i) == 0);
    }
    CHECK(sc_segment_rows(&f.s, 1490, RECORDS, UINT64_MAX, rows) == 10);
    CHECK(sc_segment_rows(&f.s, 1000, RECORDS, 0, rows) == 1);
    CHECK(sc_segment_rows(&f.s, 1000, RECORDS, 28 + 35 + 42, rows) == 3);
    CHECK(sc_segment_rows(&f.s, 1000, RECORDS, 28 + 35 + 41, rows) == 2);
    CHECK(sc_segment_rows(&f.s, 1000, 0, 99, rows) == 0);
    free(f.s.base);
}

static void full(void)
{
    fixture f = {0};
    uint8_t payload[10] = "0123456789";
    sc_stamp stamp = stamp_of(0);
    begin(&f, 1, 64 + 2 * 41 + 40);
    CHECK(sc_segment_append(&f.s, payload, 10, &stamp) == 0);
    CHECK(sc_segment_append(&f.s, payload, 10, &stamp) == 0);
    CHECK(sc_segment_append(&f.s, payload, 10, &stamp) == SC_SEGMENT_FULL);
    CHECK(f.s.count == 2 && f.s.end == 64 + 2 * 41);
    CHECK(sc_segment_append(&f.s, payload, 9, &stamp) == 0); /* to the last byte */
    CHECK(f.s.end == f.s.capacity);
    CHECK(sc_segment_append(&f.s, payload, 0, &stamp) == SC_SEGMENT_FULL);
    CHECK(sc_segment_append(&f.s, payload, SC_PAYLOAD_LIMIT + 1, &stamp) == SC_SEGMENT_LONG);
    CHECK(rescan(&f.s, 99) == SC_STOP_EMPTY && f.s.count == 3);
    begin(&f, 1, CAPACITY); /* no more entries in the index */
    f.s.index_capacity = 1;
    fill(&f, SC_SEGMENT_STRIDE);
    CHECK(sc_segment_append(&f.s, payload, 1, &stamp) == SC_SEGMENT_FULL);
    free(f.s.base);
}

static void follow(void)
{
    fixture source = {0}, copy = {0};
    sc_message rows[RECORDS], broken;
    int stop;
    sc_senders *senders = sc_senders_new(1);
    begin(&source, 1, CAPACITY);
    begin(&copy, 1, CAPACITY);
    fill(&source, RECORDS);
    CHECK(sc_segment_rows(&source.s, 1, RECORDS, UINT64_MAX, rows) == RECORDS);
    CHECK(sc_segment_append_records(&copy.s, senders, source.s.base, rows, RECORDS, &stop) == RECORDS);
    CHECK(stop == SC_STOP_NONE && copy.s.end == source.s.end && copy.s.last_time == source.s.last_time);
    CHECK(memcmp(copy.s.base, source.s.base, CAPACITY) == 0);
    CHECK(memcmp(copy.index, source.index, sizeof copy.index) == 0);
    CHECK(senders->count == 1 && senders->rows[0].sequence == 500 && senders->rows[0].number == 500);
    CHECK(sc_segment_append_records(&copy.s, senders, source.s.base, rows, 0, &stop) == 0 && stop == 0);

    begin(&copy, 1, CAPACITY);
    CHECK(sc_segment_append_records(&copy.s, NULL, source.s.base, rows + 1, 1, &stop) == 0);
    CHECK(stop == SC_STOP_CRC); /* record 2 where 1 belongs */
    source.s.base[rows[10].offset + 3] ^= 4;
    CHECK(sc_segment_append_records(&copy.s, NULL, source.s.base, rows, RECORDS, &stop) == 10);
    CHECK(stop == SC_STOP_CRC && copy.s.count == 10);
    source.s.base[rows[10].offset + 3] ^= 4;
    broken = rows[10];
    broken.length = 27;
    CHECK(sc_segment_append_records(&copy.s, NULL, source.s.base, &broken, 1, &stop) == 0);
    CHECK(stop == SC_STOP_SHORT);
    broken.length = SC_RECORD_LIMIT + 1;
    CHECK(sc_segment_append_records(&copy.s, NULL, source.s.base, &broken, 1, &stop) == 0);
    CHECK(stop == SC_STOP_LONG);
    copy.s.last_time = UINT64_MAX;
    CHECK(sc_segment_append_records(&copy.s, NULL, source.s.base, rows + 10, 1, &stop) == 0);
    CHECK(stop == SC_STOP_TIME);
    copy.s.last_time = 0;
    senders->rows[0].sender[0] = 'B'; /* a full table with somebody else in it */
    CHECK(sc_segment_append_records(&copy.s, senders, source.s.base, rows + 10, 1, &stop) == 0);
    CHECK(stop == SC_STOP_SENDERS && copy.s.count == 10);
    copy.s.capacity = copy.s.end + SC_FRAME_BYTES + rows[10].length - 1;
    CHECK(sc_segment_append_records(&copy.s, NULL, source.s.base, rows + 10, 1, &stop) == 0);
    CHECK(stop == SC_STOP_FULL && copy.s.count == 10);
    sc_senders_free(senders);
    free(source.s.base);
    free(copy.s.base);
}

static void control(void)
{
    fixture f = {0}, copy = {0};
    sc_message rows[4];
    int stop;
    sc_stamp stamp = stamp_of(0);
    sc_senders *senders = sc_senders_new(4);
    begin(&f, 1, CAPACITY);
    begin(&copy, 1, CAPACITY);
    static const uint8_t KINDS[4] = {SC_KIND_EPOCH, SC_KIND_DATA, 9 /* reserved: kept, not looked at */,
                                     SC_KIND_END};
    for (int i = 0; i < 4; i++) {
        stamp.kind = KINDS[i];
        CHECK(sc_segment_append(&f.s, (const uint8_t *)"payload", 7, &stamp) == 0);
    }
    CHECK(sc_segment_rows(&f.s, 1, 4, UINT64_MAX, rows) == 4);
    CHECK(sc_segment_append_records(&copy.s, senders, f.s.base, rows, 4, &stop) == 1 &&
          stop == SC_STOP_CONTROL);
    CHECK(senders->count == 0);
    CHECK(sc_segment_append_records(&copy.s, senders, f.s.base, rows + 1, 3, &stop) == 3);
    CHECK(stop == SC_STOP_CONTROL && senders->count == 1);
    CHECK(rescan(&f.s, 99) == SC_STOP_CONTROL && f.s.count == 1);
    CHECK(sc_segment_scan(&f.s, NULL, 2) == SC_STOP_NONE && f.s.count == 2);
    CHECK(sc_segment_scan(&f.s, NULL, 99) == SC_STOP_CONTROL && f.s.count == 4);
    CHECK(sc_segment_scan(&f.s, NULL, 99) == SC_STOP_EMPTY && f.s.count == 4);
    sc_senders_free(senders);
    free(f.s.base);
    free(copy.s.base);
}

static void scan_damage(void)
{
    fixture f = {0};
    uint32_t index[sizeof f.index / sizeof *f.index];
    uint64_t number;
    begin(&f, 0xFFFFFFF0u, CAPACITY); /* the numbers cross 2^32 on the way */
    fill(&f, RECORDS);
    uint64_t end = f.s.end;
    memcpy(index, f.index, sizeof index);
    CHECK(rescan(&f.s, UINT64_MAX) == SC_STOP_EMPTY && f.s.end == end && f.s.count == RECORDS);
    CHECK(memcmp(index, f.index, sizeof index) == 0);
    CHECK(sc_segment_search(&f.s, f.s.end, UINT64_MAX, &number) == SC_SEARCH_NOTHING);
    CHECK(sc_segment_clear(&f.s, UINT64_MAX) == 0);

    /* Every byte of the first 40 records: the scan stops at the record, the search finds the one behind it.
     */
    uint64_t offset = SC_SEGMENT_HEADER_BYTES;
    for (uint64_t record = 0; record < 40; record++) {
        uint64_t following = offset + SC_FRAME_BYTES + length_of(record) + SC_STAMP_BYTES;
        for (uint64_t at = offset; at < following; at++) {
            for (int bit = 0; bit < 8; bit++) {
                f.s.base[at] ^= (uint8_t)(1u << bit);
                int stop = rescan(&f.s, UINT64_MAX);
                CHECK(stop == SC_STOP_EMPTY || stop == SC_STOP_FRAME || stop == SC_STOP_CRC ||
                      stop == SC_STOP_SHORT);
                CHECK(f.s.count == record && f.s.end == offset);
                CHECK(sc_segment_search(&f.s, f.s.end, UINT64_MAX, &number) == (int64_t)following);
                CHECK(number == f.s.first + record + 1);
                f.s.base[at] ^= (uint8_t)(1u << bit);
            }
        }
        offset = following;
    }
    /* A whole stretch is gone. */
    memset(f.s.base + 200, 0, 4096);
    rescan(&f.s, UINT64_MAX);
    int64_t found = sc_segment_search(&f.s, f.s.end, UINT64_MAX, &number);
    CHECK(found >= 200 + 4096 && number > f.s.first + f.s.count);
    /* A record that lies across the limit is not seen. */
    begin(&f, 5, CAPACITY);
    fill(&f, 2);
    uint64_t second = sc_segment_locate(&f.s, 6);
    end = f.s.end;
    f.s.base[64 + 5] ^= 1;
    rescan(&f.s, UINT64_MAX);
    CHECK(sc_segment_search(&f.s, 64, end, &number) == (int64_t)second && number == 6);
    CHECK(sc_segment_search(&f.s, 64, end - 1, &number) == SC_SEARCH_NOTHING);
    CHECK(sc_segment_search(&f.s, second + 1, end, &number) == SC_SEARCH_NOTHING);
    CHECK(sc_segment_clear(&f.s, second) == second - 64 && f.s.base[second + 2] == 'S');
    /* The last record: nothing follows. */
    begin(&f, 5, CAPACITY);
    fill(&f, 3);
    f.s.base[f.s.end - 1] ^= 1;
    CHECK(rescan(&f.s, UINT64_MAX) == SC_STOP_CRC && f.s.count == 2);
    CHECK(sc_segment_search(&f.s, f.s.end, UINT64_MAX, &number) == SC_SEARCH_NOTHING);
    CHECK(sc_segment_clear(&f.s, UINT64_MAX) == SC_FRAME_BYTES + length_of(2) + SC_STAMP_BYTES);
    CHECK(rescan(&f.s, UINT64_MAX) == SC_STOP_EMPTY && f.s.count == 2);
    /* A length that points out of the file. */
    sc_put_be16(f.s.base + f.s.end, 65000);
    f.s.base[f.s.end + 2] = 'S';
    CHECK(rescan(&f.s, UINT64_MAX) == SC_STOP_FRAME && f.s.count == 2);
    /* Time that goes back. */
    begin(&f, 5, CAPACITY);
    sc_stamp stamp = stamp_of(0);
    CHECK(sc_segment_append(&f.s, NULL, 0, &stamp) == 0);
    stamp.time--;
    CHECK(sc_segment_append(&f.s, NULL, 0, &stamp) == 0);
    CHECK(rescan(&f.s, UINT64_MAX) == SC_STOP_TIME && f.s.count == 1);
    free(f.s.base);
}

static void search_gives_up(void)
{
    fixture f = {0};
    uint64_t number;
    uint8_t frame[SC_FRAME_BYTES + SC_STAMP_BYTES];
    sc_stamp stamp = stamp_of(0);
    begin(&f, 1, CAPACITY);
    /* Frames inside frames, all with likely stamps and wrong CRCs: the work stays linear. */
    memset(frame, 0, sizeof frame);
    sc_record_stamp(frame + SC_FRAME_BYTES, 0, 1, &stamp);
    frame[2] = 'S';
    for (uint64_t at = SC_SEGMENT_HEADER_BYTES; CAPACITY - at >= sizeof frame; at += sizeof frame) {
        uint64_t rest = (CAPACITY - at) / sizeof frame * sizeof frame - SC_FRAME_BYTES;
        sc_put_be16(frame, (uint16_t)(rest + 1));
        frame[sizeof frame - 1] ^= 1;
        memcpy(f.s.base + at, frame, sizeof frame);
    }
    CHECK(sc_segment_scan(&f.s, NULL, UINT64_MAX) != SC_STOP_EMPTY);
    CHECK(sc_segment_search(&f.s, f.s.end, UINT64_MAX, &number) == SC_SEARCH_UNSURE);
    begin(&f, 1, 64 + 30); /* too small for any record */
    CHECK(sc_segment_search(&f.s, f.s.end, UINT64_MAX, &number) == SC_SEARCH_NOTHING);
    free(f.s.base);
}

/* A cut is a scan that ends early, and a clear. */
static void cut(void)
{
    fixture f = {0};
    begin(&f, 10, CAPACITY);
    fill(&f, RECORDS);
    CHECK(rescan(&f.s, 291) == SC_STOP_NONE);
    CHECK(f.s.count == 291 && f.s.last_time == 1000 + 290 / 3);
    CHECK(f.s.end == sc_segment_locate(&f.s, 301));
    uint64_t end = f.s.end;
    CHECK(sc_segment_clear(&f.s, UINT64_MAX) > 0 && sc_segment_clear(&f.s, UINT64_MAX) == 0);
    CHECK(rescan(&f.s, UINT64_MAX) == SC_STOP_EMPTY && f.s.count == 291 && f.s.end == end);
    CHECK(rescan(&f.s, 0) == SC_STOP_NONE);
    CHECK(f.s.count == 0 && f.s.end == SC_SEGMENT_HEADER_BYTES);
    sc_segment_clear(&f.s, UINT64_MAX);
    for (uint64_t i = SC_SEGMENT_HEADER_BYTES; i < CAPACITY; i++)
        CHECK(f.s.base[i] == 0);
    free(f.s.base);
}

int main(void)
{
    append_and_read();
    full();
    follow();
    control();
    scan_damage();
    search_gives_up();
    cut();
    return 0;
}

#include "trace.h"

#include <string.h>

static uint32_t end_run(sc_trace *t, uint8_t *answers, uint32_t written)
{
    uint8_t *out = answers + (uint64_t)written * SC_ANSWER_BYTES;
    sc_answer_write(out, t->sequence, t->number, t->count);
    t->count = 0;
    return written + 1;
}

uint32_t sc_trace_run(sc_trace *t, const sc_segment *s, uint32_t records, uint8_t *answers, uint32_t capacity)
{
    enum { ROWS = 256 };
    sc_message rows[ROWS];
    uint32_t written = 0;

    while (records > 0 && written < capacity && t->next <= t->last) {
        uint64_t wanted = t->last - t->next < ROWS ? t->last - t->next + 1 : ROWS;
        uint32_t slice = wanted < records ? (uint32_t)wanted : records;
        uint32_t count = sc_segment_rows(s, t->next, slice, UINT64_MAX, rows);
        if (count == 0)
            return written;
        records -= count;
        for (uint32_t i = 0; i < count && written < capacity; i++, t->next++) {
            sc_stamp stamp;
            sc_record_read(s->base + rows[i].offset, rows[i].length, &stamp);
            int ours = stamp.kind == SC_KIND_DATA && memcmp(stamp.sender, t->sender, SC_SENDER_BYTES) == 0;
            int follows = ours && rows[i].number == t->number + 1 &&
                          stamp.sender_sequence == t->sequence + 1 && t->count < UINT32_MAX;
            if (t->count > 0 && !follows)
                written = end_run(t, answers, written);
            if (ours) {
                t->sequence = stamp.sender_sequence;
                t->number = rows[i].number;
                t->count++;
            }
        }
    }
    if (t->count > 0 && t->next > t->last && written < capacity)
        written = end_run(t, answers, written);
    return written;
}

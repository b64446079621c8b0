#include "answers.h"

#include "record.h"
#include "soup.h"

_Static_assert(SC_ANSWER_PACKET_BYTES == SC_SOUP_HEADER_BYTES + SC_ANSWER_BYTES,
               "a packet is header and answer");

/* Take up one record of the sender in `slot`; 0 when there is no room for another run. */
static int take(sc_answers *a, uint32_t *runs, uint32_t slot, uint64_t sequence, uint64_t number)
{
    uint32_t open = a->open[slot];
    if (open != 0) {
        sc_run *run = &a->runs[open - 1];
        if (number == run->number + 1 && sequence == run->sequence + 1 && run->count < UINT32_MAX) {
            run->sequence = sequence;
            run->number = number;
            run->count++;
            return 1;
        }
    }
    if (*runs == a->capacity)
        return 0;
    uint32_t index = (*runs)++;
    if (open != 0) {
        a->runs[open - 1].next = index;
    } else {
        a->slots[a->senders] = slot;
        a->heads[a->senders++] = index;
    }
    a->runs[index] = (sc_run){.sequence = sequence, .number = number, .count = 1, .next = index};
    a->open[slot] = index + 1;
    return 1;
}

static void write_packets(sc_answers *a)
{
    uint8_t *out = a->packets;
    for (uint32_t i = 0; i < a->senders; i++) {
        uint32_t index, next = a->heads[i];
        do {
            index = next;
            const sc_run *run = &a->runs[index];
            sc_put_be16(out, SC_ANSWER_PACKET_BYTES - SC_SOUP_LENGTH_BYTES);
            out[SC_SOUP_LENGTH_BYTES] = 'U';
            sc_answer_write(out + SC_SOUP_HEADER_BYTES, run->sequence, run->number, run->count);
            out += SC_ANSWER_PACKET_BYTES;
            next = run->next;
        } while (next != index);
        a->ends[i] = (uint32_t)(out - a->packets);
        a->open[a->slots[i]] = 0;
    }
}

uint64_t sc_answers_fill(sc_answers *a, sc_senders *t, const sc_segment *s, uint64_t from, uint64_t to)
{
    enum { ROWS = 64 };
    sc_message rows[ROWS];
    uint32_t runs = 0;
    int room = 1;

    a->senders = 0;
    while (room && from <= to) {
        uint64_t wanted = to - from < ROWS ? to - from + 1 : ROWS;
        uint32_t count = sc_segment_rows(s, from, (uint32_t)wanted, UINT64_MAX, rows);
        if (count == 0)
            break;
        for (uint32_t i = 0; i < count; i++, from++) {
            sc_stamp stamp;
            sc_record_read(s->base + rows[i].offset, rows[i].length, &stamp);
            if (stamp.kind != SC_KIND_DATA)
                continue;
            int32_t slot = sc_senders_find(t, stamp.sender);
            if (slot < 0)
                continue;
            room = take(a, &runs, (uint32_t)slot, stamp.sender_sequence, rows[i].number);
            if (!room)
                break;
            t->rows[slot].committed_sequence = stamp.sender_sequence;
            t->rows[slot].committed_number = rows[i].number;
        }
    }
    write_packets(a);
    return from;
}

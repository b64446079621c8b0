#include "senders.h"

#include <stdlib.h>
#include <string.h>

static uint32_t bucket_of(const sc_senders *t, const uint8_t *sender)
{
    uint64_t name = 0;
    memcpy(&name, sender, SC_SENDER_BYTES);
    /* Fibonacci hashing: the high bits of the product depend on all six bytes. */
    return (uint32_t)((name * 0x9E3779B97F4A7C15u) >> 32) & t->bucket_mask;
}

sc_senders *sc_senders_new(uint32_t capacity)
{
    if (capacity == 0 || capacity > SC_SENDERS_CAPACITY_LIMIT)
        return NULL;
    uint32_t buckets = 2;
    while (buckets < 2 * capacity) /* at most half full, so that probing stays short and always ends */
        buckets *= 2;
    sc_senders *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->rows = calloc(capacity, sizeof *t->rows);
    t->buckets = calloc(buckets, sizeof *t->buckets);
    t->capacity = capacity;
    t->bucket_mask = buckets - 1;
    if (t->rows == NULL || t->buckets == NULL) {
        sc_senders_free(t);
        return NULL;
    }
    return t;
}

void sc_senders_free(sc_senders *t)
{
    if (t == NULL)
        return;
    free(t->rows);
    free(t->buckets);
    free(t);
}

static int same(const uint8_t *a, const uint8_t *b)
{
    uint32_t a4, b4;
    uint16_t a2, b2;
    memcpy(&a4, a, sizeof a4);
    memcpy(&b4, b, sizeof b4);
    memcpy(&a2, a + sizeof a4, sizeof a2);
    memcpy(&b2, b + sizeof b4, sizeof b2);
    return a4 == b4 && a2 == b2;
}

_Static_assert(SC_SENDER_BYTES == sizeof(uint32_t) + sizeof(uint16_t), "a name is compared in two words");

/* The bucket that holds `sender`, or the empty one where he would go. */
static uint32_t probe(const sc_senders *t, const uint8_t *sender)
{
    uint32_t bucket = bucket_of(t, sender);
    while (t->buckets[bucket] != 0 && !same(t->rows[t->buckets[bucket] - 1].sender, sender))
        bucket = (bucket + 1) & t->bucket_mask;
    return bucket;
}

int32_t sc_senders_find(const sc_senders *t, const uint8_t *sender)
{
    return (int32_t)t->buckets[probe(t, sender)] - 1;
}

int32_t sc_senders_add(sc_senders *t, const uint8_t *sender)
{
    if (t->latest < t->count && same(t->rows[t->latest].sender, sender))
        return (int32_t)t->latest;
    uint32_t bucket = probe(t, sender);
    if (t->buckets[bucket] == 0) {
        if (t->count == t->capacity)
            return -1;
        memcpy(t->rows[t->count].sender, sender, SC_SENDER_BYTES);
        t->rows[t->count].used = 1;
        t->buckets[bucket] = ++t->count;
    }
    t->latest = t->buckets[bucket] - 1;
    return (int32_t)t->latest;
}

void sc_senders_note(sc_senders *t, const uint8_t *sender, uint64_t sequence, uint64_t number)
{
    int32_t slot = sc_senders_add(t, sender);
    if (slot < 0)
        return;
    t->rows[slot].sequence = sequence;
    t->rows[slot].number = number;
}

void sc_senders_reset(sc_senders *t)
{
    for (uint32_t slot = 0; slot < t->count; slot++) {
        t->rows[slot].sequence = 0;
        t->rows[slot].number = 0;
    }
}

uint32_t sc_senders_commit(sc_senders *t, const sc_segment *s, uint64_t from, uint64_t to, uint32_t *dirty,
                           uint32_t dirty_capacity)
{
    enum { ROWS = 64 };
    sc_message rows[ROWS];
    uint32_t changed = 0;
    int32_t slot = -1; /* of the record before: mostly this one's, too */

    if (from < s->first)
        from = s->first;
    while (from <= to) {
        uint64_t wanted = to - from < ROWS ? to - from + 1 : ROWS;
        uint32_t count = sc_segment_rows(s, from, (uint32_t)wanted, UINT64_MAX, rows);
        if (count == 0)
            break;
        for (uint32_t i = 0; i < count; i++) {
            sc_stamp stamp;
            sc_record_read(s->base + rows[i].offset, rows[i].length, &stamp);
            if (stamp.kind != SC_KIND_DATA)
                continue;
            if (slot < 0 || !same(t->rows[slot].sender, stamp.sender))
                slot = sc_senders_find(t, stamp.sender);
            if (slot < 0)
                continue;
            sc_sender *row = &t->rows[slot];
            row->committed_sequence = stamp.sender_sequence;
            row->committed_number = rows[i].number;
            if (!row->reserved && changed < dirty_capacity) {
                row->reserved = 1;
                dirty[changed++] = (uint32_t)slot;
            }
        }
        from += count;
        if (from == 0) /* numbers wrapped: to was the largest there is */
            break;
    }
    for (uint32_t i = 0; i < changed; i++)
        t->rows[dirty[i]].reserved = 0;
    return changed;
}

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

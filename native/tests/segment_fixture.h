/* A segment in plain memory, for tests of the kernels that write or read one. */
#ifndef SC_SEGMENT_FIXTURE_H
#define SC_SEGMENT_FIXTURE_H

#include <stdint.h>
#include <string.h>

#include "check.h"
#include "segment.h"
#include "senders.h"

#define FIXTURE_INDEX 4096

typedef struct {
    sc_segment segment;
    uint8_t *bytes;
    uint32_t index[FIXTURE_INDEX];
} fixture;

static inline fixture *fixture_new(uint64_t capacity, uint64_t first)
{
    fixture *f = calloc(1, sizeof *f);
    CHECK(f != NULL);
    f->bytes = calloc(1, capacity);
    CHECK(f->bytes != NULL);
    f->segment.base = f->bytes;
    f->segment.capacity = capacity;
    f->segment.first = first;
    f->segment.end = SC_SEGMENT_HEADER_BYTES;
    f->segment.index = f->index;
    f->segment.index_capacity = FIXTURE_INDEX;
    return f;
}

static inline void fixture_free(fixture *f)
{
    free(f->bytes);
    free(f);
}

/* Appends data records of `length` bytes, numbered by their content, from sender "ALPHA ". */
static inline void fixture_fill(fixture *f, uint32_t count, uint32_t length)
{
    uint8_t payload[2048];
    for (uint32_t i = 0; i < count; i++) {
        memset(payload, (int)(i & 0xFF), length);
        sc_stamp stamp = {.time = 1000 + i, .sender_sequence = i + 1, .kind = SC_KIND_DATA, .flags = 3};
        memcpy(stamp.sender, "ALPHA ", 6);
        CHECK(sc_segment_append(&f->segment, payload, length, &stamp) == 0);
    }
}

#endif

/* The trace: where in the stream the records of one sender lie, as the answers of the submit port that say so
 * (docs/PROTOCOL.md). It is walked in slices, over one segment at a time. */
#ifndef SC_TRACE_H
#define SC_TRACE_H

#include <stdint.h>

#include "answers.h"
#include "segment.h"

/* [cdef] */
typedef struct {
    uint8_t sender[6];
    uint32_t count;    /* records of the run that is open; 0 while none is */
    uint64_t next;     /* number of the next record to look at */
    uint64_t last;     /* number of the last one to look at */
    uint64_t sequence; /* sender sequence of the last record of the open run */
    uint64_t number;   /* its stream number */
} sc_trace;

uint32_t sc_trace_run(sc_trace *trace, const sc_segment *segment, uint32_t records, uint8_t *answers,
                      uint32_t capacity);
/* [/cdef] */

/* Answers are those of answers.h, without framing.
 *
 * The caller sets sender, next and last, and zeroes the rest.
 *
 * sc_trace_run: looks at `records` records at most, from `next` on, through `last`, of those that the segment
 * holds, and writes an answer for each run that has ended. A run that goes on at the edge of the slice, or of
 * the segment, stays open for the next call; after `last` it is ended. Returns how many answers were written,
 * at most `capacity`, for which `answers` has room. All is told when next is above last and count is 0; until
 * then the caller goes on with the segment that holds `next`. A call that leaves `next` where it was, with
 * records and capacity above 0, was given another segment, or one that cannot be read. */

#endif

/* Latencies by number: when records began, when they were done, and a log-linear histogram of what lay
 * between. */
#ifndef SC_LATENCY_H
#define SC_LATENCY_H

#include <stdint.h>

/* [cdef] */
#define SC_LATENCY_BITS 4 /* each power of two has 16 buckets: a bucket is one part in 16 wide at most */
#define SC_LATENCY_LIMIT_BITS 40 /* what is longer, above 18 minutes, shares the last bucket */
#define SC_LATENCY_BUCKETS 592
#define SC_LATENCY_MARKS 1024

typedef struct {
    uint64_t count, total_ns, min_ns, max_ns; /* min_ns and max_ns mean something when count is not 0 */
    uint64_t counts[SC_LATENCY_BUCKETS];
} sc_latency;

typedef struct {
    uint64_t number, at_ns;
} sc_mark;

typedef struct {
    sc_latency latency;
    uint64_t begun, done; /* numbers of the last record that began, and that was done */
    uint32_t head, marks;
    sc_mark mark[SC_LATENCY_MARKS];
} sc_span;

uint32_t sc_latency_bucket(uint64_t value_ns);
void sc_latency_add(sc_latency *latency, uint64_t value_ns, uint64_t records);
void sc_latency_between(sc_latency *latency, uint64_t from_ns, uint64_t to_ns, uint64_t records);
void sc_span_start(sc_span *span, uint64_t number);
void sc_span_begin(sc_span *span, uint64_t number, uint64_t now_ns);
void sc_span_end(sc_span *span, uint64_t number, uint64_t now_ns);
void sc_span_turn(sc_span *to_commit, sc_span *to_wire, uint64_t stamped, uint64_t committed,
                  uint64_t published, uint64_t stamped_ns, uint64_t committed_ns, uint64_t published_ns);
/* [/cdef] */

/* sc_latency_bucket: where a value is counted. sc_latency_add: counts `records` that all took `value_ns`.
 * sc_latency_between: the same for what lies between two times, 0 when the clock went back.
 *
 * sc_span_start: everything up to `number` is past: nothing of it is counted.
 *
 * sc_span_begin: the records after the last that began, up to `number`, begin at `now_ns`. A number that
 * began already changes nothing. When SC_LATENCY_MARKS batches are under way, more of them share the time of
 * the last: they are taken to be older than they are, and never younger.
 *
 * sc_span_end: the records up to `number` are done at `now_ns`: each is counted, in one step for each batch
 * that began together. What has not begun is passed over. A clock that went back counts as 0.
 *
 * sc_span_turn: one turn of a primary, with the last records stamped, committed and published by its end, and
 * when each of the three happened: what begins `to_commit`, ends it and begins `to_wire`, and ends that. */

_Static_assert(SC_LATENCY_BUCKETS == (SC_LATENCY_LIMIT_BITS - SC_LATENCY_BITS + 1) << SC_LATENCY_BITS,
               "a bucket for every value of at most SC_LATENCY_LIMIT_BITS bits");

#endif

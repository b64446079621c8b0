#include "latency.h"

#include <string.h>

uint32_t sc_latency_bucket(uint64_t value_ns)
{
    const uint64_t limit = (UINT64_C(1) << SC_LATENCY_LIMIT_BITS) - 1;
    uint64_t value = value_ns < limit ? value_ns : limit;
    uint32_t bits = value ? 64 - (uint32_t)__builtin_clzll(value) : 0;
    uint32_t shift = bits > SC_LATENCY_BITS + 1 ? bits - SC_LATENCY_BITS - 1 : 0;
    return (shift << SC_LATENCY_BITS) + (uint32_t)(value >> shift);
}

void sc_latency_add(sc_latency *latency, uint64_t value_ns, uint64_t records)
{
    if (records == 0)
        return;
    if (latency->count == 0 || value_ns < latency->min_ns)
        latency->min_ns = value_ns;
    if (value_ns > latency->max_ns)
        latency->max_ns = value_ns;
    latency->count += records;
    latency->total_ns += value_ns * records;
    latency->counts[sc_latency_bucket(value_ns)] += records;
}

void sc_latency_between(sc_latency *latency, uint64_t from_ns, uint64_t to_ns, uint64_t records)
{
    sc_latency_add(latency, to_ns > from_ns ? to_ns - from_ns : 0, records);
}

void sc_span_start(sc_span *span, uint64_t number)
{
    memset(span, 0, sizeof *span);
    span->begun = span->done = number;
}

void sc_span_begin(sc_span *span, uint64_t number, uint64_t now_ns)
{
    if (number <= span->begun)
        return;
    span->begun = number;
    if (span->marks == SC_LATENCY_MARKS) {
        span->mark[(span->head + span->marks - 1) % SC_LATENCY_MARKS].number = number;
        return;
    }
    sc_mark *mark = &span->mark[(span->head + span->marks) % SC_LATENCY_MARKS];
    mark->number = number;
    mark->at_ns = now_ns;
    span->marks++;
}

void sc_span_end(sc_span *span, uint64_t number, uint64_t now_ns)
{
    while (span->marks > 0 && span->done < number) {
        const sc_mark *mark = &span->mark[span->head];
        uint64_t through = mark->number < number ? mark->number : number;
        if (through > span->done) {
            sc_latency_between(&span->latency, mark->at_ns, now_ns, through - span->done);
            span->done = through;
        }
        if (through == mark->number) {
            span->head = (span->head + 1) % SC_LATENCY_MARKS;
            span->marks--;
        }
    }
}

void sc_span_turn(sc_span *to_commit, sc_span *to_wire, uint64_t stamped, uint64_t committed,
                  uint64_t published, uint64_t stamped_ns, uint64_t committed_ns, uint64_t published_ns)
{
    sc_span_begin(to_commit, stamped, stamped_ns);
    sc_span_end(to_commit, committed, committed_ns);
    sc_span_begin(to_wire, committed, committed_ns);
    sc_span_end(to_wire, published, published_ns);
}

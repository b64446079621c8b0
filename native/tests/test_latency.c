/* Spans: each record counted once with its own time, whatever the batches; buckets whose edges are known. */
#include "latency.h"

#include "check.h"

#include <string.h>

static sc_span span;

static uint64_t total(const sc_latency *latency)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SC_LATENCY_BUCKETS; i++)
        sum += latency->counts[i];
    return sum;
}

static void check_buckets(void)
{
    static sc_latency latency;
    for (uint64_t value = 0; value < 32; value++) {
        sc_latency_add(&latency, value, 1);
        CHECK(latency.counts[value] == 1); /* one nanosecond each */
    }
    sc_latency_add(&latency, 32, 1);
    sc_latency_add(&latency, 33, 1);
    CHECK(latency.counts[32] == 2);
    sc_latency_add(&latency, UINT64_C(1) << 39, 1);
    CHECK(latency.counts[SC_LATENCY_BUCKETS - 16] == 1);
    sc_latency_add(&latency, UINT64_C(1) << 50, 2);
    CHECK(latency.counts[SC_LATENCY_BUCKETS - 1] == 2 && latency.max_ns == UINT64_C(1) << 50);
    sc_latency_add(&latency, 7, 0);
    CHECK(latency.min_ns == 0 && latency.count == 37 && total(&latency) == 37);
}

static void check_batches(void)
{
    sc_span_start(&span, 100);
    sc_span_end(&span, 100, 5);
    CHECK(span.latency.count == 0);
    sc_span_begin(&span, 110, 1000); /* ten */
    sc_span_begin(&span, 110, 1500); /* known */
    sc_span_begin(&span, 113, 1010); /* three */
    sc_span_end(&span, 104, 1020);   /* four of the ten */
    CHECK(span.latency.count == 4 && span.latency.total_ns == 4 * 20 && span.marks == 2);
    sc_span_end(&span, 104, 9999); /* known */
    sc_span_end(&span, 200, 1030); /* the other six, the three, and what never began */
    CHECK(span.latency.count == 13 && span.latency.total_ns == 4 * 20 + 6 * 30 + 3 * 20);
    CHECK(span.latency.min_ns == 20 && span.latency.max_ns == 30 && span.marks == 0);
    sc_span_begin(&span, 114, 2000);
    sc_span_end(&span, 114, 1999); /* the clock went back */
    CHECK(span.latency.count == 14 && span.latency.min_ns == 0 && total(&span.latency) == 14);
}

static void check_bound(void)
{
    const uint64_t batches = 3 * SC_LATENCY_MARKS;
    sc_span_start(&span, 0);
    for (uint64_t number = 1; number <= batches; number++)
        sc_span_begin(&span, number, number);
    CHECK(span.marks == SC_LATENCY_MARKS);
    sc_span_end(&span, batches, batches);
    CHECK(span.latency.count == batches && span.marks == 0);
    CHECK(span.latency.min_ns == batches - SC_LATENCY_MARKS); /* older than they are, not younger */
    for (uint64_t number = batches + 1; number <= 2 * batches; number++) { /* the ring goes round */
        sc_span_begin(&span, number, number);
        sc_span_end(&span, number, number + 3);
    }
    CHECK(span.latency.count == 2 * batches && span.latency.min_ns == 3);
}

/* Two records in one turn, committed and published in the next but one, the second of them one turn later. */
static void check_turns(void)
{
    static sc_span wire;
    const uint64_t numbers[][3] = {{2, 0, 0}, {2, 0, 0}, {2, 2, 1}, {2, 2, 2}};
    const uint64_t times[][3] = {{10, 11, 12}, {20, 21, 22}, {30, 35, 37}, {40, 41, 45}};
    sc_span_start(&span, 0);
    sc_span_start(&wire, 0);
    for (int turn = 0; turn < 4; turn++)
        sc_span_turn(&span, &wire, numbers[turn][0], numbers[turn][1], numbers[turn][2], times[turn][0],
                     times[turn][1], times[turn][2]);
    CHECK(span.latency.count == 2 && span.latency.min_ns == 25 && span.latency.max_ns == 25);
    CHECK(wire.latency.count == 2 && wire.latency.min_ns == 2 && wire.latency.max_ns == 10);
}

int main(void)
{
    check_buckets();
    check_batches();
    check_bound();
    check_turns();
    return 0;
}

/* The trace: every run of a sender once, with its numbers, whatever the slices, room and segments. */
#include "bytes.h"
#include "segment_fixture.h"
#include "trace.h"

#include <stdlib.h>

enum { ROOM = 512 };

static uint8_t answers[ROOM * SC_ANSWER_BYTES];

static void append(fixture *f, const char *sender, uint64_t sequence, uint8_t kind)
{
    sc_stamp stamp = {.time = 1, .sender_sequence = sequence, .kind = kind, .flags = 3};
    memcpy(stamp.sender, sender, SC_SENDER_BYTES);
    CHECK(sc_segment_append(&f->segment, (const uint8_t *)"message", 7, &stamp) == 0);
}

static sc_trace trace_of(const char *sender, uint64_t next, uint64_t last)
{
    sc_trace t = {.next = next, .last = last};
    memcpy(t.sender, sender, SC_SENDER_BYTES);
    return t;
}

static void check_answer(uint32_t i, uint64_t sequence, uint64_t number, uint32_t count)
{
    const uint8_t *in = answers + i * SC_ANSWER_BYTES;
    CHECK(sc_get_be64(in) == sequence && sc_get_be64(in + 8) == number && sc_get_be32(in + 16) == count);
}

/* 100 A1, 101 A2, 102 B1, 103 A3, 104 an epoch start that calls itself A, 105 A4, 106 A5, 107 B2 */
static fixture *mixed(void)
{
    fixture *f = fixture_new(1 << 14, 100);
    append(f, "A     ", 1, SC_KIND_DATA);
    append(f, "A     ", 2, SC_KIND_DATA);
    append(f, "B     ", 1, SC_KIND_DATA);
    append(f, "A     ", 3, SC_KIND_DATA);
    append(f, "A     ", 4, SC_KIND_EPOCH);
    append(f, "A     ", 4, SC_KIND_DATA);
    append(f, "A     ", 5, SC_KIND_DATA);
    append(f, "B     ", 2, SC_KIND_DATA);
    return f;
}

static void finds_runs(void)
{
    fixture *f = mixed();
    sc_trace t = trace_of("A     ", 100, 107);
    CHECK(sc_trace_run(&t, &f->segment, 100, answers, ROOM) == 3);
    check_answer(0, 2, 101, 2);
    check_answer(1, 3, 103, 1);
    check_answer(2, 5, 106, 2);
    CHECK(t.next == 108 && t.count == 0);
    CHECK(sc_trace_run(&t, &f->segment, 100, answers, ROOM) == 0);

    t = trace_of("A     ", 101, 105); /* both ends lie in a run */
    CHECK(sc_trace_run(&t, &f->segment, 100, answers, ROOM) == 3);
    check_answer(0, 2, 101, 1);
    check_answer(2, 4, 105, 1);

    t = trace_of("C     ", 100, 107);
    CHECK(sc_trace_run(&t, &f->segment, 100, answers, ROOM) == 0 && t.next == 108);
    t = trace_of("A     ", 107, 106); /* nothing to look at */
    CHECK(sc_trace_run(&t, &f->segment, 100, answers, ROOM) == 0 && t.next == 107);
    fixture_free(f);
}

static void goes_on(void)
{
    fixture *f = mixed();
    sc_trace t = trace_of("A     ", 100, 106);
    CHECK(sc_trace_run(&t, &f->segment, 1, answers, ROOM) == 0 && t.next == 101 && t.count == 1);
    CHECK(sc_trace_run(&t, &f->segment, 2, answers, ROOM) == 1 && t.next == 103 && t.count == 0);
    check_answer(0, 2, 101, 2);
    CHECK(sc_trace_run(&t, &f->segment, 0, answers, ROOM) == 0 && t.next == 103);
    CHECK(sc_trace_run(&t, &f->segment, 9, answers, 0) == 0 && t.next == 103);
    CHECK(sc_trace_run(&t, &f->segment, 9, answers, 1) == 1 && t.next == 105); /* no room for more */
    check_answer(0, 3, 103, 1);
    CHECK(sc_trace_run(&t, &f->segment, 9, answers, 1) == 1 && t.next == 107 && t.count == 0);
    check_answer(0, 5, 106, 2);

    t = trace_of("A     ", 99, 106); /* another segment holds it */
    CHECK(sc_trace_run(&t, &f->segment, 9, answers, ROOM) == 0 && t.next == 99);
    t = trace_of("A     ", 100, 999); /* the rest is elsewhere: the run stays open */
    append(f, "A     ", 6, SC_KIND_DATA);
    CHECK(sc_trace_run(&t, &f->segment, 99, answers, ROOM) == 3 && t.next == 109 && t.count == 1);
    fixture *following = fixture_new(1 << 14, 109);
    append(following, "A     ", 7, SC_KIND_DATA);
    append(following, "B     ", 3, SC_KIND_DATA);
    CHECK(sc_trace_run(&t, &following->segment, 99, answers, ROOM) == 1 && t.next == 111 && t.count == 0);
    check_answer(0, 7, 109, 2);
    fixture_free(following);
    fixture_free(f);
}

/* Random streams, slices and room: together the answers name each record of A once, in order. */
static void names_each_record_once(void)
{
    enum { RECORDS = 400 };
    for (int round = 0; round < 200; round++) {
        fixture *f = fixture_new(1 << 16, 1000);
        uint64_t numbers[RECORDS + 1], a = 0, told = 0;
        for (uint32_t i = 0; i < RECORDS; i++) {
            if (rand() % 4 != 0) {
                append(f, "A     ", ++a, SC_KIND_DATA);
                numbers[a] = 1000 + i;
            } else {
                append(f, "B     ", i + 1, SC_KIND_DATA);
            }
        }
        sc_trace t = trace_of("A     ", 1000, 1000 + RECORDS - 1);
        while (t.next <= t.last || t.count > 0) {
            uint32_t room = 1 + (uint32_t)rand() % 5;
            uint32_t written = sc_trace_run(&t, &f->segment, 1 + (uint32_t)rand() % 300, answers, room);
            CHECK(written <= room);
            for (uint32_t i = 0; i < written; i++) {
                const uint8_t *in = answers + i * SC_ANSWER_BYTES;
                uint64_t sequence = sc_get_be64(in), number = sc_get_be64(in + 8);
                uint32_t count = sc_get_be32(in + 16);
                CHECK(count > 0 && sequence == told + count);
                CHECK(told == 0 || numbers[told] + 1 < number - count + 1); /* adjacent runs are one */
                for (uint32_t j = 0; j < count; j++)
                    CHECK(numbers[sequence - j] == number - j);
                told = sequence;
            }
        }
        CHECK(told == a);
        fixture_free(f);
    }
}

int main(void)
{
    finds_runs();
    goes_on();
    names_each_record_once();
    return 0;
}

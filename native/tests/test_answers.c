/* The answers: every record that became committed is told of once, to its sender, in runs. */
#include "answers.h"
#include "bytes.h"
#include "segment_fixture.h"

enum { RUNS = 8, SENDERS = 4 };

static uint32_t slots[RUNS], ends[RUNS], heads[RUNS], open_runs[SENDERS];
static uint8_t packets[RUNS * SC_ANSWER_PACKET_BYTES];
static sc_run runs[RUNS];

static sc_answers answers_of(uint32_t capacity)
{
    return (sc_answers){.capacity = capacity,
                        .slots = slots,
                        .ends = ends,
                        .packets = packets,
                        .heads = heads,
                        .runs = runs,
                        .open = open_runs};
}

static void append(fixture *f, sc_senders *t, const char *sender, uint64_t sequence, uint8_t kind)
{
    sc_stamp stamp = {.time = 1, .sender_sequence = sequence, .kind = kind, .flags = 3};
    memcpy(stamp.sender, sender, SC_SENDER_BYTES);
    CHECK(sc_segment_append(&f->segment, (const uint8_t *)"message", 7, &stamp) == 0);
    if (kind == SC_KIND_DATA)
        sc_senders_note(t, stamp.sender, sequence, f->segment.first + f->segment.count - 1);
}

/* 100 A1, 101 A2, 102 B1, 103 A3, 104 an epoch start that calls itself A, 105 A4, 106 A5, 107 B2 */
static fixture *mixed(sc_senders *t)
{
    fixture *f = fixture_new(1 << 14, 100);
    append(f, t, "A     ", 1, SC_KIND_DATA);
    append(f, t, "A     ", 2, SC_KIND_DATA);
    append(f, t, "B     ", 1, SC_KIND_DATA);
    append(f, t, "A     ", 3, SC_KIND_DATA);
    append(f, t, "A     ", 4, SC_KIND_EPOCH);
    append(f, t, "A     ", 4, SC_KIND_DATA);
    append(f, t, "A     ", 5, SC_KIND_DATA);
    append(f, t, "B     ", 2, SC_KIND_DATA);
    return f;
}

static void check_packet(uint32_t i, uint64_t sequence, uint64_t number, uint32_t count)
{
    const uint8_t *in = packets + i * SC_ANSWER_PACKET_BYTES;
    CHECK(sc_get_be16(in) == SC_ANSWER_PACKET_BYTES - 2 && in[2] == 'U');
    CHECK(sc_get_be64(in + 3) == sequence && sc_get_be64(in + 11) == number && sc_get_be32(in + 19) == count);
}

static void tells_runs_by_sender(void)
{
    sc_senders *t = sc_senders_new(SENDERS);
    fixture *f = mixed(t);
    sc_answers a = answers_of(RUNS);
    CHECK(sc_answers_fill(&a, t, &f->segment, 100, 107) == 108);
    CHECK(a.senders == 2 && slots[0] == 0 && slots[1] == 1);
    CHECK(ends[0] == 3 * SC_ANSWER_PACKET_BYTES && ends[1] == 5 * SC_ANSWER_PACKET_BYTES);
    check_packet(0, 2, 101, 2);
    check_packet(1, 3, 103, 1);
    check_packet(2, 5, 106, 2);
    check_packet(3, 1, 102, 1);
    check_packet(4, 2, 107, 1);
    CHECK(t->rows[0].committed_sequence == 5 && t->rows[0].committed_number == 106);
    CHECK(t->rows[1].committed_sequence == 2 && t->rows[1].committed_number == 107);
    for (uint32_t i = 0; i < SENDERS; i++)
        CHECK(open_runs[i] == 0);

    CHECK(sc_answers_fill(&a, t, &f->segment, 101, 101) == 102); /* the end of a run alone */
    CHECK(a.senders == 1 && ends[0] == SC_ANSWER_PACKET_BYTES);
    check_packet(0, 2, 101, 1);
    CHECK(sc_answers_fill(&a, t, &f->segment, 104, 104) == 105 && a.senders == 0); /* not data */
    fixture_free(f);
    sc_senders_free(t);
}

static void goes_on_where_there_was_no_room(void)
{
    sc_senders *t = sc_senders_new(SENDERS);
    fixture *f = mixed(t);
    sc_answers a = answers_of(2);
    CHECK(sc_answers_fill(&a, t, &f->segment, 100, 107) == 103);
    CHECK(a.senders == 2 && t->rows[0].committed_sequence == 2);
    CHECK(sc_answers_fill(&a, t, &f->segment, 103, 107) == 107);
    CHECK(a.senders == 1 && ends[0] == 2 * SC_ANSWER_PACKET_BYTES);
    check_packet(0, 3, 103, 1);
    check_packet(1, 5, 106, 2);
    CHECK(sc_answers_fill(&a, t, &f->segment, 107, 107) == 108 && a.senders == 1 && slots[0] == 1);
    fixture_free(f);
    sc_senders_free(t);
}

static void keeps_to_the_segment(void)
{
    sc_senders *t = sc_senders_new(SENDERS);
    fixture *f = mixed(t);
    sc_answers a = answers_of(RUNS);
    CHECK(sc_answers_fill(&a, t, &f->segment, 107, UINT64_MAX) == 108 && a.senders == 1);
    CHECK(sc_answers_fill(&a, t, &f->segment, 108, 120) == 108 && a.senders == 0);
    CHECK(sc_answers_fill(&a, t, &f->segment, 5, 4) == 5 && a.senders == 0);
    fixture_free(f);
    sc_senders_free(t);
}

int main(void)
{
    tells_runs_by_sender();
    goes_on_where_there_was_no_room();
    keeps_to_the_segment();
    return 0;
}

/* Opening records for the app: runs of whole messages, and where a run ends. */
#include "bytes.h"
#include "delivery.h"
#include "segment_fixture.h"

static void opens_runs(void)
{
    fixture *f = fixture_new(1 << 16, 100);
    fixture_fill(f, 10, 20);
    sc_stamp special = {.time = 5000, .sender_sequence = 11, .kind = SC_KIND_DATA, .flags = SC_FLAG_FIRST};
    memcpy(special.sender, "ALPHA ", 6);
    CHECK(sc_segment_append(&f->segment, (const uint8_t *)"x", 1, &special) == 0);
    special.kind = SC_KIND_EPOCH;
    special.flags = 3;
    CHECK(sc_segment_append(&f->segment, (const uint8_t *)"", 0, &special) == 0);

    sc_message rows[16], payloads[16];
    sc_stamp stamps[16];
    CHECK(sc_segment_rows(&f->segment, 100, 16, 1 << 20, rows) == 12);
    CHECK(sc_delivery_check(f->bytes, rows, 12) == 12);
    CHECK(sc_delivery_run(f->bytes, rows, 12, payloads, stamps) == 10);
    for (uint32_t i = 0; i < 10; i++) {
        CHECK(payloads[i].number == 100 + i && payloads[i].length == 20);
        CHECK(payloads[i].offset == rows[i].offset && f->bytes[payloads[i].offset] == i);
        CHECK(stamps[i].sender_sequence == i + 1 && stamps[i].time == 1000 + i);
    }
    CHECK(sc_delivery_run(f->bytes, rows + 10, 2, payloads, stamps) == 0);
    CHECK(sc_delivery_run(f->bytes, rows + 11, 1, payloads, stamps) == 0);

    f->bytes[rows[4].offset] ^= 1;
    CHECK(sc_delivery_check(f->bytes, rows, 12) == 4);
    f->bytes[rows[4].offset] ^= 1;
    rows[7].number++; /* the right bytes at the wrong place */
    CHECK(sc_delivery_check(f->bytes, rows, 12) == 7);
    rows[3].length = 27;
    CHECK(sc_delivery_check(f->bytes, rows, 12) == 3);
    CHECK(sc_delivery_run(f->bytes, rows, 12, payloads, stamps) == 3);
    fixture_free(f);
}

static void says_where_a_run_stopped(void)
{
    fixture *f = fixture_new(1 << 16, 7);
    fixture_fill(f, 2, 20);
    sc_stamp special = {.time = 5000, .sender_sequence = 3, .kind = SC_KIND_DATA, .flags = SC_FLAG_LAST};
    memcpy(special.sender, "BETA  ", 6);
    CHECK(sc_segment_append(&f->segment, (const uint8_t *)"x", 1, &special) == 0);

    sc_message rows[4], payloads[4];
    sc_stamp stamps[4];
    CHECK(sc_segment_rows(&f->segment, 7, 4, 1 << 20, rows) == 3);
    CHECK(sc_delivery_run(f->bytes, rows, 3, payloads, stamps) == 2);
    CHECK(stamps[2].flags == SC_FLAG_LAST && stamps[2].sender_sequence == 3);
    CHECK(memcmp(stamps[2].sender, "BETA  ", 6) == 0);
    fixture_free(f);
}

static void copies_what_it_is_given_and_no_more(void)
{
    static const uint8_t base[] = "..one...three.two";
    const sc_message rows[] = {
        {.number = 4, .offset = 2, .length = 3},
        {.number = 5, .offset = 14, .length = 3},
        {.number = 6, .offset = 17, .length = 0},
        {.number = 9, .offset = 8, .length = 5},
    };
    sc_message copied[5] = {[4] = {.number = 77}};
    uint8_t *out = malloc(11); /* the sum of the lengths, so that the sanitizer sees one byte too many */
    CHECK(out != NULL);
    sc_delivery_copy(base, rows, 4, out, copied);
    CHECK(memcmp(out, "onetwothree", 11) == 0);
    static const uint32_t offsets[] = {0, 3, 6, 6};
    for (uint32_t i = 0; i < 4; i++)
        CHECK(copied[i].number == rows[i].number && copied[i].length == rows[i].length &&
              copied[i].offset == offsets[i]);
    CHECK(copied[4].number == 77);
    sc_delivery_copy(base, rows, 0, out, copied);
    CHECK(copied[0].number == 4);
    free(out);
}

int main(void)
{
    opens_runs();
    says_where_a_run_stopped();
    copies_what_it_is_given_and_no_more();
    return 0;
}

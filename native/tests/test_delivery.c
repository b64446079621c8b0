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

int main(void)
{
    opens_runs();
    return 0;
}

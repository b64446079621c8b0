/* The sender table: stable slots, collisions, a full table, and commits. */
#include <string.h>

#include "check.h"
#include "senders.h"

static void name_of(uint32_t i, uint8_t *name)
{
    for (int place = SC_SENDER_BYTES - 1; place >= 0; place--, i /= 26)
        name[place] = (uint8_t)('A' + i % 26);
}

static void slots(void)
{
    enum { CAPACITY = 5000 };
    uint8_t name[SC_SENDER_BYTES];
    sc_senders *t = sc_senders_new(CAPACITY);
    CHECK(t != NULL);
    for (uint32_t i = 0; i < CAPACITY; i++) {
        name_of(i * 77, name);
        CHECK(sc_senders_find(t, name) == -1);
        CHECK(sc_senders_add(t, name) == (int32_t)i);
        CHECK(sc_senders_add(t, name) == (int32_t)i);
        sc_senders_note(t, name, i + 1, i + 2);
    }
    name_of(1, name);
    CHECK(sc_senders_add(t, name) == -1);
    sc_senders_note(t, name, 1, 1);
    CHECK(sc_senders_find(t, name) == -1 && t->count == CAPACITY);
    for (uint32_t i = 0; i < CAPACITY; i++) {
        name_of(i * 77, name);
        CHECK(sc_senders_find(t, name) == (int32_t)i);
        CHECK(t->rows[i].sequence == i + 1 && t->rows[i].number == i + 2 && t->rows[i].used == 1);
    }
    sc_senders_reset(t);
    CHECK(t->count == CAPACITY && t->rows[7].sequence == 0 && t->rows[7].number == 0);
    name_of(7 * 77, name);
    CHECK(sc_senders_find(t, name) == 7);
    sc_senders_free(t);
    sc_senders_free(NULL);
}

static void limits(void)
{
    CHECK(sc_senders_new(0) == NULL);
    CHECK(sc_senders_new(SC_SENDERS_CAPACITY_LIMIT + 1) == NULL);
    sc_senders *t = sc_senders_new(1);
    CHECK(t != NULL && sc_senders_add(t, (const uint8_t *)"A     ") == 0);
    CHECK(sc_senders_add(t, (const uint8_t *)"B     ") == -1);
    CHECK(sc_senders_find(t, (const uint8_t *)"B     ") == -1);
    sc_senders_free(t);
}

static void commits(void)
{
    enum { RECORDS = 300 };
    static uint8_t file[1 << 16];
    uint32_t index[64], dirty[3];
    sc_segment s = {.base = file,
                    .capacity = sizeof file,
                    .first = 100,
                    .end = SC_SEGMENT_HEADER_BYTES,
                    .index = index,
                    .index_capacity = 64};
    sc_senders *t = sc_senders_new(8);
    CHECK(t != NULL);
    for (uint32_t i = 0; i < RECORDS; i++) {
        sc_stamp stamp = {.time = i, .sender_sequence = i / 3 + 1, .flags = 3};
        memcpy(stamp.sender, i % 3 == 0 ? "A     " : i % 3 == 1 ? "B     " : "C     ", SC_SENDER_BYTES);
        if (i == 299)
            stamp.kind = SC_KIND_END;
        CHECK(sc_segment_append(&s, (const uint8_t *)"x", 1, &stamp) == 0);
        if (i != 299)
            sc_senders_note(t, stamp.sender, stamp.sender_sequence, s.first + i);
    }
    CHECK(sc_senders_commit(t, &s, 100, 100, dirty, 3) == 1 && dirty[0] == 0);
    CHECK(t->rows[0].committed_sequence == 1 && t->rows[0].committed_number == 100);
    CHECK(t->rows[1].committed_sequence == 0);
    CHECK(sc_senders_commit(t, &s, 101, 399, dirty, 3) == 3); /* each once */
    CHECK(dirty[0] == 1 && dirty[1] == 2 && dirty[2] == 0);
    CHECK(t->rows[0].committed_sequence == 100 && t->rows[0].committed_number == 397);
    CHECK(t->rows[2].committed_sequence == 99 && t->rows[2].committed_number == 396); /* 399 is not data */
    CHECK(t->rows[0].reserved == 0 && t->rows[1].reserved == 0);
    CHECK(sc_senders_commit(t, &s, 399, 399, dirty, 3) == 0);
    CHECK(sc_senders_commit(t, &s, 400, 500, dirty, 3) == 0);
    CHECK(sc_senders_commit(t, &s, 5, 4, dirty, 3) == 0);
    CHECK(sc_senders_commit(t, &s, 0, UINT64_MAX, dirty, 2) == 2); /* told as far as there is room */
    CHECK(t->rows[2].committed_sequence == 99);
    sc_senders_free(t);
}

int main(void)
{
    slots();
    limits();
    commits();
    return 0;
}

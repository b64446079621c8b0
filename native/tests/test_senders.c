/* The sender table: stable slots, collisions, a full table. */
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

int main(void)
{
    slots();
    limits();
    return 0;
}

/* The record: a golden vector, every truncation, every flipped bit, and the wrong number. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "record.h"

static const sc_stamp STAMP = {.time = 0x1122334455667788u,
                               .sender_sequence = 7,
                               .sender = {'A', 'L', 'I', 'C', 'E', ' '},
                               .kind = SC_KIND_DATA,
                               .flags = SC_FLAG_FIRST | SC_FLAG_LAST};

/* Computed with a bitwise CRC in plain Python from the table in the design (tests/rewinder/oracle_log.py). */
static const uint8_t GOLDEN[] = {'h',  'i',  0,    3,    'A',  'L',  'I',  'C',  'E',  ' ',
                                 0,    0,    0,    0,    0,    0,    0,    7,    0x11, 0x22,
                                 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x81, 0xa2, 0xd6, 0xfa};

static void golden(void)
{
    uint8_t record[30] = {'h', 'i'};
    sc_stamp stamp;
    sc_record_stamp(record, 2, 42, &STAMP);
    CHECK(sizeof GOLDEN == sizeof record);
    CHECK(memcmp(record, GOLDEN, sizeof record) == 0);
    CHECK(sc_record_check(record, sizeof record, 42) == 0);
    sc_record_read(record, sizeof record, &stamp);
    CHECK(memcmp(&stamp, &STAMP, sizeof stamp) == 0);
}

static void damage(void)
{
    for (uint32_t length = 0; length < sizeof GOLDEN; length++) {
        uint8_t *copy = malloc(length + 1); /* exact, so that a read beyond the end is seen */
        CHECK(copy != NULL);
        memcpy(copy, GOLDEN, length);
        CHECK(sc_record_check(copy, length, 42) ==
              (length < SC_STAMP_BYTES ? SC_RECORD_SHORT : SC_RECORD_CRC));
        free(copy);
    }
    for (uint32_t bit = 0; bit < 8 * sizeof GOLDEN; bit++) {
        uint8_t copy[sizeof GOLDEN];
        memcpy(copy, GOLDEN, sizeof copy);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(sc_record_check(copy, sizeof copy, 42) == SC_RECORD_CRC);
    }
    for (uint32_t bit = 0; bit < 64; bit++)
        CHECK(sc_record_check(GOLDEN, sizeof GOLDEN, 42 ^ (uint64_t)1 << bit) == SC_RECORD_CRC);
}

static void many(void)
{
    uint8_t base[256];
    sc_message rows[3] = {{.number = 1, .offset = 0, .length = 28},
                          {.number = 2, .offset = 28, .length = 60},
                          {.number = 3, .offset = 88, .length = 27}};
    sc_stamp stamps[3], stamp = STAMP;
    memset(base, 'x', sizeof base);
    sc_record_stamp(base, 0, 1, &stamp);
    stamp.kind = SC_KIND_EPOCH;
    sc_record_stamp(base + 28, 32, 2, &stamp);
    CHECK(sc_records_read(base, rows, 3, stamps) == 2);
    CHECK(stamps[0].kind == SC_KIND_DATA && stamps[1].kind == SC_KIND_EPOCH);
    CHECK(sc_records_read(base, rows, 0, stamps) == 0);
}

int main(void)
{
    golden();
    damage();
    many();
    return 0;
}

/* Records: any bytes are checked without harm; what is stamped checks, reads back, and fits its number only.
 */
#include <stdlib.h>
#include <string.h>

#include "record.h"

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    uint32_t length = (uint32_t)size;
    sc_stamp stamp, again;
    int code = sc_record_check(data, length, 1);
    REQUIRE(code == 0 || code == SC_RECORD_CRC || code == SC_RECORD_SHORT);
    REQUIRE((code == SC_RECORD_SHORT) == (length < SC_STAMP_BYTES));
    if (length < SC_STAMP_BYTES)
        return 0;

    uint8_t *copy = malloc(length);
    REQUIRE(copy != NULL);
    memcpy(copy, data, length);
    sc_record_read(copy, length, &stamp);
    sc_record_stamp(copy, length - SC_STAMP_BYTES, 77, &stamp);
    REQUIRE(memcmp(copy, data, length - 4) == 0); /* reading and stamping are inverse, but for the CRC */
    REQUIRE(sc_record_check(copy, length, 77) == 0);
    REQUIRE(sc_record_check(copy, length, 78) == SC_RECORD_CRC);
    sc_message row = {.number = 77, .offset = 0, .length = length};
    REQUIRE(sc_records_read(copy, &row, 1, &again) == 1 && memcmp(&stamp, &again, sizeof stamp) == 0);
    uint32_t bit = (stamp.time & 0xffff) % (8 * length);
    copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    REQUIRE(sc_record_check(copy, length, 77) == SC_RECORD_CRC);
    free(copy);
    return 0;
}

/* SoupBinTCP framing: any bytes split without harm, the rows tile the input, cuts change nothing, packing
 * restores what was split, and skipping agrees with splitting. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "soup.h"

#define ROWS 64
#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

/* Says whether the run was right to stop where it did. */
static void check_stop(const uint8_t *data, uint32_t length, uint8_t type, uint32_t count, uint32_t capacity,
                       uint32_t consumed)
{
    uint32_t rest = length - consumed;

    if (count == capacity || rest < SC_SOUP_HEADER_BYTES)
        return;
    uint32_t counted = sc_get_be16(data + consumed);
    REQUIRE(counted == 0 || data[consumed + 2] != type || counted > rest - SC_SOUP_LENGTH_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint32_t capacity = data[0] % (ROWS + 1);
    uint8_t type = data[1];
    uint32_t length = (uint32_t)(size - 3);
    uint32_t cut = length * data[2] / 256;
    sc_message rows[ROWS];
    sc_message fewer[ROWS];
    uint32_t consumed;
    uint32_t packed;

    data += 3;
    uint32_t count = sc_soup_run(data, length, type, 5, rows, capacity, &consumed);
    REQUIRE(count <= capacity && consumed <= length);
    uint32_t position = 0;
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(rows[i].number == 5 + i && rows[i].offset == position + SC_SOUP_HEADER_BYTES);
        REQUIRE(rows[i].length <= SC_SOUP_PAYLOAD_LIMIT);
        position = rows[i].offset + rows[i].length;
    }
    REQUIRE(position == consumed);
    check_stop(data, length, type, count, capacity, consumed);

    uint8_t *out = malloc(consumed + 1);
    REQUIRE(sc_soup_packed_bytes(rows, count, SC_SOUP_HEADER_BYTES) == consumed);
    REQUIRE(sc_soup_pack(type, data, rows, count, out, consumed, &packed) == (int64_t)consumed);
    REQUIRE(packed == count && memcmp(out, data, consumed) == 0);
    free(out);

    uint32_t found = sc_soup_run(data, cut, type, 5, fewer, capacity, &position);
    REQUIRE(found <= count && position <= cut && memcmp(fewer, rows, found * sizeof *rows) == 0);

    REQUIRE(sc_soup_skip(data, length, count) == consumed);
    REQUIRE(sc_soup_skip(data, length, UINT64_MAX) <= length);
    return 0;
}

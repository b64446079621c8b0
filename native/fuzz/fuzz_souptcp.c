/* SoupTCP framing: any bytes split without harm, the rows tile the input, cuts change nothing, packing
 * restores what was split, and skipping agrees with splitting. */
#include <stdlib.h>
#include <string.h>

#include "soup.h"

#define ROWS 64
#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint32_t capacity = data[0] % (ROWS + 1);
    int32_t stop_at_empty = data[0] >> 7;
    uint8_t type = data[1];
    uint32_t length = (uint32_t)(size - 3);
    uint32_t cut = length * data[2] / 256;
    sc_message rows[ROWS];
    sc_message fewer[ROWS];
    uint32_t consumed;
    uint32_t packed;

    data += 3;
    uint32_t count = sc_soup_line_run(data, length, type, 5, stop_at_empty, rows, capacity, &consumed);
    REQUIRE(count <= capacity && consumed <= length);
    uint32_t position = 0;
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(rows[i].number == 5 + i && rows[i].offset == position + 1);
        REQUIRE(rows[i].length > 0 || !stop_at_empty);
        position = rows[i].offset + rows[i].length;
        REQUIRE(data[position++] == '\n');
    }
    REQUIRE(position == consumed);
    if (count < capacity && consumed < length && data[consumed] == type && type != '\n') {
        const uint8_t *end = memchr(data + consumed, '\n', length - consumed);
        REQUIRE(end == NULL || end - data > (int64_t)consumed + 1 + SC_SOUP_PAYLOAD_LIMIT ||
                (stop_at_empty && end == data + consumed + 1));
    }

    uint8_t *out = malloc(consumed + 1);
    REQUIRE(sc_soup_packed_bytes(rows, count, SC_SOUP_LINE_OVERHEAD) == consumed);
    int64_t written = sc_soup_line_pack(type, data, rows, count, out, consumed, &packed);
    REQUIRE(packed == count && written == (int64_t)consumed && memcmp(out, data, consumed) == 0);
    free(out);

    uint32_t found = sc_soup_line_run(data, cut, type, 5, stop_at_empty, fewer, capacity, &position);
    REQUIRE(found <= count && position <= cut && memcmp(fewer, rows, found * sizeof *rows) == 0);

    REQUIRE(sc_soup_line_skip(data, length, count) == consumed);
    REQUIRE(sc_soup_line_skip(data, length, UINT64_MAX) <= length);

    const sc_message whole = {0, 0, length};
    uint8_t *line = malloc((size_t)length + SC_SOUP_LINE_OVERHEAD);
    written = sc_soup_line_pack('U', data, &whole, 1, line, length + SC_SOUP_LINE_OVERHEAD, &packed);
    if (written > 0)
        REQUIRE(sc_soup_line_skip(line, (uint64_t)written, 2) == (uint64_t)written);
    free(line);
    return 0;
}

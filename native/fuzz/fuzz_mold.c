/* Decodes arbitrary bytes as a packet of either protocol; what was decoded is packed again and must be the
 * same. */
#include <stdlib.h>

#include "mold.h"

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

enum { ROWS = 32768 };

static sc_message rows[ROWS];
static uint8_t out[1 << 17];

static void run(int32_t protocol, const uint8_t *data, uint32_t length)
{
    uint32_t header_bytes = sc_mold_header_bytes(protocol);
    sc_mold_header header;
    int32_t messages = sc_mold_decode(protocol, data, length, &header, rows, ROWS);
    if (messages < 0) {
        REQUIRE(messages == (length < header_bytes ? SC_MOLD_SHORT : SC_MOLD_OVERRUN));
        return;
    }
    REQUIRE((uint32_t)messages <= header.blocks && messages <= ROWS);
    REQUIRE(sc_mold_decode(protocol, data, length, &header, NULL, 0) == messages);
    uint32_t end = header_bytes;
    for (int32_t i = 0; i < messages; i++) {
        REQUIRE(rows[i].offset == end + SC_MOLD_BLOCK_BYTES && rows[i].offset <= length);
        REQUIRE(rows[i].length <= length - rows[i].offset && rows[i].number == header.number + (uint32_t)i);
        end = rows[i].offset + rows[i].length;
    }
    uint32_t packed;
    int32_t result =
        sc_mold_pack(protocol, data, header.number, data, rows, (uint32_t)messages, out, end, &packed);
    if (messages == 0) {
        REQUIRE(result == 0 && packed == 0);
        return;
    }
    if (header.number == 0 || header.number > sc_mold_number_max(protocol)) {
        REQUIRE(result == SC_MOLD_NUMBER && packed == 0);
        return;
    }
    if (packed < (uint32_t)messages) { /* only where the numbers run out */
        REQUIRE(header.number + packed == sc_mold_number_max(protocol) + 1);
        return;
    }
    REQUIRE((uint32_t)result == end);
    if (header.blocks == (uint32_t)messages) {
        REQUIRE(memcmp(out, data, end) == 0);
    } else { /* MoldUDP: the marker, and what followed it, are gone */
        REQUIRE(protocol == SC_MOLDUDP && header.ends);
        REQUIRE(memcmp(out, data, 14) == 0 && memcmp(out + 16, data + 16, end - 16) == 0);
    }
    /* one byte less holds one message less */
    result =
        sc_mold_pack(protocol, data, header.number, data, rows, (uint32_t)messages, out, end - 1, &packed);
    REQUIRE(packed == (uint32_t)messages - 1);
    REQUIRE(result == (packed == 0 ? 0 : (int32_t)(end - rows[packed].length - SC_MOLD_BLOCK_BYTES)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    if (length > UINT16_MAX)
        return 0;
    run(SC_MOLDUDP64, data, (uint32_t)length);
    run(SC_MOLDUDP, data, (uint32_t)length);
    return 0;
}

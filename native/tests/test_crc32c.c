/* CRC-32C: the vectors of RFC 3720 appendix B.4, and the instruction against the tables. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"

static void vectors(void)
{
    uint8_t data[48];
    static const uint8_t command[48] = {/* an iSCSI Read (10) command PDU */
                                        0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                        0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                        0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
    memset(data, 0, 32);
    CHECK(sc_crc32c(0, data, 32) == 0x8A9136AAu);
    memset(data, 0xff, 32);
    CHECK(sc_crc32c(0, data, 32) == 0x62A8AB43u);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = i;
    CHECK(sc_crc32c(0, data, 32) == 0x46DD794Eu);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = (uint8_t)(31 - i);
    CHECK(sc_crc32c(0, data, 32) == 0x113FDB5Cu);
    CHECK(sc_crc32c(0, command, sizeof command) == 0xD9963A56u);
    CHECK(sc_crc32c(0, (const uint8_t *)"123456789", 9) == 0xE3069283u);
    CHECK(sc_crc32c(0, data, 0) == 0);
}

static uint32_t seed = 1;

static uint8_t next_byte(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint8_t)(seed >> 24);
}

static void against_tables(void)
{
    enum { SIZE = 20000 };
    uint8_t *data = malloc(SIZE);
    CHECK(data != NULL);
    for (int i = 0; i < SIZE; i++)
        data[i] = next_byte();
    for (size_t length = 0; length < 700; length++)
        for (size_t offset = 0; offset < 3; offset++)
            CHECK(sc_crc32c(7, data + offset, length) == sc_crc32c_portable(7, data + offset, length));
    for (size_t length = 3000; length < 3300; length++) /* about the longest fused run */
        CHECK(sc_crc32c(0, data, length) == sc_crc32c_portable(0, data, length));
    CHECK(sc_crc32c(0, data, SIZE) == sc_crc32c_portable(0, data, SIZE));
    for (size_t cut = 0; cut < 400; cut++)
        CHECK(sc_crc32c(sc_crc32c(0, data, cut), data + cut, 400 - cut) == sc_crc32c(0, data, 400));
    for (size_t length = 0; length < 300; length++)
        CHECK(sc_crc32c_back(sc_crc32c(12345, data, length), data, length) == 12345);
    free(data);
}

int main(void)
{
    vectors();
    against_tables();
    return 0;
}

#include "crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_INSTRUCTION 1
#else
#define HAVE_INSTRUCTION 0
#endif

enum {
    SLICES = 8,
    /* Words of each of three streams in one fused run. 128 words keep the table of constants at 1 KiB; longer
     * input is cut into several runs. */
    STREAM_WORDS = 128,
    /* Below this the instruction's latency is not worth the price of joining three streams. */
    FUSED_BYTES = 128,
};

#define POLYNOMIAL 0x82F63B78u /* reflected */

static uint32_t slices[SLICES][256];
static uint8_t
    inverse[256]; /* the byte whose entry in slices[0] has this highest byte: there is exactly one */

#if HAVE_INSTRUCTION
/* shifts[j]: x^(64 j - 33) modulo the polynomial, reflected. Multiplying a CRC by it, and reducing the
 * product with the CRC instruction, moves the CRC over 8 j bytes of zeros. */
static uint32_t shifts[2 * STREAM_WORDS + 2];
static int instruction; /* whether this machine has it */
#endif

static uint32_t times_x(uint32_t value)
{
    return (value >> 1) ^ (value & 1 ? POLYNOMIAL : 0);
}

__attribute__((constructor)) static void build_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = times_x(value);
        slices[0][byte] = value;
        inverse[value >> 24] = (uint8_t)byte;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int slice = 1; slice < SLICES; slice++) {
            uint32_t before = slices[slice - 1][byte];
            slices[slice][byte] = (before >> 8) ^ slices[0][before & 255];
        }
#if HAVE_INSTRUCTION
    uint32_t power = 0x80000000u; /* x^0 */
    for (int bit = 0; bit < 64 - 33; bit++)
        power = times_x(power);
    for (uint32_t j = 1; j < sizeof shifts / sizeof *shifts; j++) {
        shifts[j] = power;
        for (int bit = 0; bit < 64; bit++)
            power = times_x(power);
    }
    __builtin_cpu_init();
    instruction = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
#endif
}

uint32_t sc_crc32c_portable(uint32_t crc, const uint8_t *p, size_t length)
{
    crc = ~crc;
    for (; length >= 8; length -= 8, p += 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = slices[7][crc & 255] ^ slices[6][crc >> 8 & 255] ^ slices[5][crc >> 16 & 255] ^
              slices[4][crc >> 24] ^ slices[3][p[4]] ^ slices[2][p[5]] ^ slices[1][p[6]] ^ slices[0][p[7]];
    }
    for (; length > 0; length--, p++)
        crc = (crc >> 8) ^ slices[0][(crc ^ *p) & 255];
    return ~crc;
}

uint32_t sc_crc32c_back(uint32_t crc, const uint8_t *data, size_t length)
{
    crc = ~crc;
    for (const uint8_t *p = data + length; p > data;) {
        uint8_t entry = inverse[crc >> 24];
        crc = (crc ^ slices[0][entry]) << 8 | (uint32_t)(entry ^ *--p);
    }
    return ~crc;
}

#if HAVE_INSTRUCTION
static inline uint64_t word(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t shifted(uint32_t crc, uint32_t words)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)shifts[words]), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Three streams side by side: the instruction takes three cycles but one can start each cycle. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p,
                                                                        size_t length)
{
    uint64_t a = ~crc;
    while (length >= FUSED_BYTES) {
        size_t words = (length - 8) / 24;
        if (words > STREAM_WORDS)
            words = STREAM_WORDS;
        uint64_t b = 0, c = 0;
        const uint8_t *q = p + 8 * words, *r = q + 8 * words;
        for (size_t i = 0; i < words; i++, p += 8, q += 8, r += 8) {
            a = _mm_crc32_u64(a, word(p));
            b = _mm_crc32_u64(b, word(q));
            c = _mm_crc32_u64(c, word(r));
        }
        uint64_t carried =
            shifted((uint32_t)a, (uint32_t)(2 * words + 1)) ^ shifted((uint32_t)b, (uint32_t)(words + 1));
        a = _mm_crc32_u64(c, word(r) ^ carried);
        p = r + 8;
        length -= 24 * words + 8;
    }
    for (; length >= 8; length -= 8, p += 8)
        a = _mm_crc32_u64(a, word(p));
    uint32_t rest = (uint32_t)a;
    if (length & 4) {
        uint32_t value;
        memcpy(&value, p, sizeof value);
        rest = _mm_crc32_u32(rest, value);
        p += 4;
    }
    if (length & 2) {
        uint16_t value;
        memcpy(&value, p, sizeof value);
        rest = _mm_crc32_u16(rest, value);
        p += 2;
    }
    if (length & 1)
        rest = _mm_crc32_u8(rest, *p);
    return ~rest;
}
#endif

uint32_t sc_crc32c(uint32_t crc, const uint8_t *data, size_t length)
{
#if HAVE_INSTRUCTION
    if (instruction)
        return by_instruction(crc, data, length);
#endif
    return sc_crc32c_portable(crc, data, length);
}

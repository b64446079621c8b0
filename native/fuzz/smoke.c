/* Runs a fuzz target over a fixed stream of pseudo-random inputs, with nothing but a C compiler: a smoke test
 * on machines without libFuzzer, and the same inputs in every run. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RUNS = 20000, LARGEST = 2048 };

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

int main(void)
{
    for (int run = 0; run < RUNS; run++) {
        size_t size = next() % (run % 4 ? 64 : LARGEST);
        uint8_t *data = malloc(size ? size : 1); /* its own block, so that a read past the end is seen */
        if (data == NULL)
            return 1;
        /* Small numbers are what lengths and counts are made of; noise is what finds the rest. */
        uint64_t small = next() % 3;
        for (size_t i = 0; i < size; i++)
            data[i] = (uint8_t)(small && next() % 4 ? next() % 4 : next());
        if (size > 10 && next() % 2)
            memcpy(data, "SESS000001", 10);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    return 0;
}

/*
 * memcpy: what it costs to move bytes, and to do nothing else with them.
 *
 *   memory BYTES CHUNK PIECE
 *
 * Copies a buffer of CHUNK bytes into another, PIECE bytes a call, again and again until BYTES were copied.
 */
#define _GNU_SOURCE
#include "loopback.h"

#define CHUNK_LIMIT (1U << 30)

int main(int argc, char **argv)
{
    uint64_t bytes = argc == 4 ? strtoull(argv[1], NULL, 10) : 0;
    size_t chunk = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    size_t piece = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    if (bytes < 1 || chunk < 1 || chunk > CHUNK_LIMIT || piece < 1 || piece > chunk || chunk % piece) {
        fprintf(stderr, "usage: memory BYTES CHUNK PIECE (CHUNK is a multiple of PIECE)\n");
        return FAILED;
    }
    uint8_t *from = malloc(chunk), *to = malloc(chunk);
    if (from == NULL || to == NULL)
        fail("memory");
    memset(from, 1, chunk);
    memset(to, 0, chunk); /* touched: the first touch costs more than the copy */
    uint64_t copied = 0;
    int64_t start_ns = now_ns();
    for (; copied < bytes; copied += chunk)
        for (size_t at = 0; at < chunk; at += piece) {
            memcpy(to + at, from + at, piece);
            __asm__ volatile("" : : "r"(to) : "memory"); /* else the compiler sees that nobody reads it */
        }
    int64_t taken_ns = now_ns() - start_ns;
    printf("{\"bytes\": %" PRIu64 ", \"ns\": %" PRId64 "}\n", copied, taken_ns);
    free(from);
    free(to);
    return 0;
}

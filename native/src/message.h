/* The table that every decoder fills and every encoder reads: where messages lie in one buffer.
 *
 * Offsets are 32 bits, so a buffer that is described by a table is smaller than 4 GiB. */
#ifndef SC_MESSAGE_H
#define SC_MESSAGE_H

#include <stdint.h>

/* [cdef] */
typedef struct {
    uint64_t number; /* sequence number; 0 where the source has none */
    uint32_t offset; /* of the first byte, from the start of the buffer */
    uint32_t length; /* bytes */
} sc_message;
/* [/cdef] */

_Static_assert(sizeof(sc_message) == 16, "Python reads this table as 16-byte rows");

#endif

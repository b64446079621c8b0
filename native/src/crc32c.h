/* CRC-32C (Castagnoli), as in RFC 3720 section 12.1: polynomial 0x1EDC6F41, reflected. */
#ifndef SC_CRC32C_H
#define SC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* [cdef] */
uint32_t sc_crc32c(uint32_t crc, const uint8_t *data, size_t length);
/* [/cdef] */
/* The checksum of `length` bytes, continued from `crc`: 0 begins, and sc_crc32c(sc_crc32c(0, a), b) is the
 * checksum of a followed by b. Uses the CRC instruction of x86 where the machine has it, tables elsewhere. */

uint32_t sc_crc32c_portable(uint32_t crc, const uint8_t *data, size_t length);
/* The same by tables, on every machine: what sc_crc32c falls back to, and its twin in the tests. */

uint32_t sc_crc32c_back(uint32_t crc, const uint8_t *data, size_t length);
/* The other way: the checksum before `data`, given the one after it, so that
 * sc_crc32c(sc_crc32c_back(c, a), a) == c. By table, a byte at a time. */

#endif

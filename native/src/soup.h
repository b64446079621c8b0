/* Packets of SoupBinTCP 3.00 to 4.10 and SoupTCP 2.00 and 3.00, many at a time.
 *
 *   SoupBinTCP   length (u16 big-endian, counts what follows it), type, payload     section 2 of the
 * specification SoupTCP      type, payload without LF, LF
 *
 * All functions are pure: they keep nothing, allocate nothing and read nothing outside what they are given.
 */
#ifndef SC_SOUP_H
#define SC_SOUP_H

#include <stdint.h>

#include "message.h"

/* [cdef] */
#define SC_SOUP_LENGTH_BYTES 2
#define SC_SOUP_HEADER_BYTES 3
#define SC_SOUP_PAYLOAD_LIMIT 65534
#define SC_SOUP_LINE_OVERHEAD 2

#define SC_SOUP_OVERLONG -1
#define SC_SOUP_LINE_FEED -2
/* [/cdef] */

/* Runs. Both functions take the maximal run of whole packets of one `type` from the start of `data` into
 * `rows`: offset of the payload from `data`, its length, and the numbers first_number, first_number + 1 and
 * so on (modulo 2^64). They stop before a packet of another type, before an incomplete one, before one that
 * no session could take (SoupBinTCP: length 0; SoupTCP: no type, or a payload above SC_SOUP_PAYLOAD_LIMIT),
 * and when `capacity` rows are filled: to know which, the caller looks at the packet at `*consumed`. Return
 * the number of rows filled; `*consumed` is the bytes these packets take with their framing. `data` may be
 * NULL when `length` is 0. */

/* [cdef] */
uint32_t sc_soup_run(const uint8_t *data, uint32_t length, uint8_t type, uint64_t first_number,
                     sc_message *rows, uint32_t capacity, uint32_t *consumed);
/* [/cdef] */

/* With `stop_at_empty` not zero an empty packet of this type ends the run as well: in SoupTCP 2.00 it is the
 * end of the session. */
/* [cdef] */
uint32_t sc_soup_line_run(const uint8_t *data, uint32_t length, uint8_t type, uint64_t first_number,
                          int32_t stop_at_empty, sc_message *rows, uint32_t capacity, uint32_t *consumed);
/* [/cdef] */

/* Packing frames rows in order as packets of one `type`, while they fit into `capacity` bytes of `out`. The
 * rows lie inside the buffer at `base` (the caller's promise), and `out` does not overlap it. `*packed` is
 * the number of rows taken; the return value is the number of bytes written. Both are 0 when the first row
 * does not fit. When the first row cannot be carried at all, `*packed` is 0 and the result is negative:
 *
 *   SC_SOUP_OVERLONG    more than SC_SOUP_PAYLOAD_LIMIT bytes (SoupTCP names no limit: this one is ours)
 *   SC_SOUP_LINE_FEED   SoupTCP: a payload that holds an LF would read as two packets
 *
 * A bad row that is not the first ends the call before it, so that everything in front of it gets out. */
/* [cdef] */
int64_t sc_soup_pack(uint8_t type, const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                     uint32_t capacity, uint32_t *packed);
int64_t sc_soup_line_pack(uint8_t type, const uint8_t *base, const sc_message *rows, uint32_t count,
                          uint8_t *out, uint32_t capacity, uint32_t *packed);
/* [/cdef] */

/* Bytes that `count` rows take when each gets `overhead` bytes of framing. Cannot overflow. */
/* [cdef] */
uint64_t sc_soup_packed_bytes(const sc_message *rows, uint32_t count, uint32_t overhead);
/* [/cdef] */

/* Byte length of the first `count` whole packets of `data`, of whatever type; of fewer when there are fewer,
 * or when one has length 0. A sender frees with it what was acknowledged. */
/* [cdef] */
uint64_t sc_soup_skip(const uint8_t *data, uint64_t length, uint64_t count);
uint64_t sc_soup_line_skip(const uint8_t *data, uint64_t length, uint64_t count);
/* [/cdef] */

#endif

/* Feeds: messages in files and pipes, split and packed a chunk at a time.
 *
 *   BinaryFILE 1.00   u16 big-endian length, message; repeated. Length 0 is the end of the session.
 *   lines             message, LF; repeated. The LF is no part of the message, everything else is, a CR too.
 *   hex               two lower-case hexadecimal digits a byte, LF; repeated. Written only.
 *
 * All functions are pure: they keep nothing, allocate nothing and read nothing outside what they are given.
 */
#ifndef SC_FEED_H
#define SC_FEED_H

#include <stdint.h>

#include "message.h"

/* [cdef] */
#define SC_FEED_HEADER_BYTES 2
#define SC_FEED_BINARYFILE_LIMIT 65535

#define SC_FEED_MORE 0
#define SC_FEED_FULL 1
#define SC_FEED_END 2
#define SC_FEED_LONG 3

#define SC_FEED_EMPTY -1
#define SC_FEED_OVERLONG -2
#define SC_FEED_LINE_FEED -3
/* [/cdef] */

/* Splitting stops for one of four reasons, which `*stop` names:
 *
 *   SC_FEED_MORE   all whole messages were taken; what lies after `*consumed` is the start of one, or nothing
 *   SC_FEED_FULL   all `capacity` rows are used; call again with the rest of the data
 *   SC_FEED_END    the end-of-session marker was met and consumed; what follows it was not looked at
 *   SC_FEED_LONG   the message that starts at `*consumed` is longer than `limit` bytes; it is not in the rows
 *
 * `*consumed` counts the bytes of the messages in the rows with their framing, and of the marker.
 * Offsets in the rows count from `data`; numbers are 0, because a file has none. */

/* Splits `length` bytes of BinaryFILE. Returns the number of rows filled. */
/* [cdef] */
uint32_t sc_feed_binaryfile(const uint8_t *data, uint32_t length, uint32_t limit, sc_message *rows,
                            uint32_t capacity, uint32_t *consumed, int32_t *stop);
/* [/cdef] */

/* Splits `length` bytes of lines. Returns the number of rows filled. Two adjacent LFs enclose an empty
 * message. With `final` not zero no data will follow, and bytes after the last LF are a message too. An
 * unfinished line that is already above `limit` is SC_FEED_LONG, so a caller never has to keep more than
 * `limit` bytes of it. */
/* [cdef] */
uint32_t sc_feed_lines(const uint8_t *data, uint32_t length, int32_t final, uint32_t limit, sc_message *rows,
                       uint32_t capacity, uint32_t *consumed, int32_t *stop);
/* [/cdef] */

/* Packing takes rows in order, while they fit into `capacity` bytes of `out` and the format can carry them.
 * The rows lie inside the buffer at `base` (the caller's promise), and `out` does not overlap it. `*packed`
 * is the number of rows taken; the return value is the number of bytes written. Both are 0 when the first row
 * does not fit. When the first row cannot be carried at all, `*packed` is 0 and the result is negative:
 *
 *   SC_FEED_EMPTY      BinaryFILE: a message of no bytes would read as the end of the session
 *   SC_FEED_OVERLONG   BinaryFILE: a message above 65535 bytes has no length field
 *   SC_FEED_LINE_FEED  lines: a message that holds an LF would read as two
 *
 * A bad row that is not the first ends the call before it, so that everything in front of it gets out. */
/* [cdef] */
int64_t sc_feed_pack_binaryfile(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                                uint32_t capacity, uint32_t *packed);
int64_t sc_feed_pack_lines(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                           uint32_t capacity, uint32_t *packed);
int64_t sc_feed_pack_hex(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                         uint32_t capacity, uint32_t *packed);
/* [/cdef] */

#endif

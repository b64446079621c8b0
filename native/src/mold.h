/* MoldUDP64 1.00 and MoldUDP 1.02a: one packet at a time, both directions.
 *
 *                          MoldUDP64             MoldUDP
 *   Session                @0  10 bytes          @0  10 bytes
 *   Sequence Number        @10 u64 big-endian    @10 u32 little-endian
 *   Message Count          @18 u16 big-endian    @14 u16 little-endian
 *   message blocks         @20 u16 big-endian    @16 u16 little-endian     length of the message, then the
 * message heartbeat              Message Count 0       Message Count 0 end of session         Message Count
 * 0xFFFF  a message block of length 0 an empty message       a block of length 0   cannot be carried
 *
 * The two look alike and share no constant: the byte order differs, and so does the end of the session.
 *
 * All functions are pure: they keep nothing, allocate nothing and read nothing outside what they are given.
 * Where a function takes `protocol`, it is SC_MOLDUDP64 or SC_MOLDUDP (the caller's promise). */
#ifndef SC_MOLD_H
#define SC_MOLD_H

#include <stdint.h>

#include "bytes.h"
#include "message.h"

/* [cdef] */
#define SC_MOLDUDP64 0
#define SC_MOLDUDP 1

#define SC_MOLD_SESSION_BYTES 10
#define SC_MOLD_BLOCK_BYTES 2
#define SC_MOLD_MESSAGE_MAX 65535

#define SC_MOLDUDP64_HEADER_BYTES 20
#define SC_MOLDUDP64_COUNT_MAX 65534
#define SC_MOLDUDP64_END_OF_SESSION 65535

#define SC_MOLDUDP_HEADER_BYTES 16
#define SC_MOLDUDP_COUNT_MAX 65535

#define SC_MOLD_SHORT -1
#define SC_MOLD_OVERRUN -2
#define SC_MOLD_EMPTY -3
#define SC_MOLD_LONG -4
#define SC_MOLD_NUMBER -5

typedef struct {
    uint64_t number; /* Sequence Number: of the first block, or the next expected where there is no block */
    uint32_t blocks; /* message blocks that the header claims; 0 for the end of the session in MoldUDP64 */
    uint32_t ends; /* 1 when the packet says that the session ends (MoldUDP: known only after sc_mold_walk) */
} sc_mold_header;
/* [/cdef] */

_Static_assert(SC_MOLDUDP64_HEADER_BYTES == SC_MOLD_SESSION_BYTES + 8 + 2,
               "MoldUDP64 1.00, Downstream Packet");
_Static_assert(SC_MOLDUDP_HEADER_BYTES == SC_MOLD_SESSION_BYTES + 4 + 2, "MoldUDP 1.02a, Downstream Packet");

static inline uint32_t sc_mold_header_bytes(int32_t protocol)
{
    return protocol == SC_MOLDUDP64 ? SC_MOLDUDP64_HEADER_BYTES : SC_MOLDUDP_HEADER_BYTES;
}

static inline uint32_t sc_mold_block_length(int32_t protocol, const uint8_t *block)
{
    return protocol == SC_MOLDUDP64 ? sc_get_be16(block) : sc_get_le16(block);
}

/* The highest next-number that is believed: in MoldUDP a message may have any number that the field can hold.
 */
static inline uint64_t sc_mold_next_max(int32_t protocol)
{
    return protocol == SC_MOLDUDP64 ? UINT64_MAX : (uint64_t)UINT32_MAX + 1;
}

/* The highest number under which a message is packed: a heartbeat must be able to name the one after it. */
static inline uint64_t sc_mold_number_max(int32_t protocol)
{
    return protocol == SC_MOLDUDP64 ? UINT64_MAX - 1 : UINT32_MAX - 1;
}

/* Reads the header of a packet. 0, or SC_MOLD_SHORT when `length` is below the header. Judges nothing: the
 * number may be 0 and the count may claim blocks that are not there. */
static inline int32_t sc_mold_read_header(int32_t protocol, const uint8_t *data, uint32_t length,
                                          sc_mold_header *header)
{
    if (length < sc_mold_header_bytes(protocol))
        return SC_MOLD_SHORT;
    if (protocol == SC_MOLDUDP64) {
        uint32_t count = sc_get_be16(data + 18);
        header->number = sc_get_be64(data + 10);
        header->ends = count == SC_MOLDUDP64_END_OF_SESSION;
        header->blocks = header->ends ? 0 : count;
    } else {
        header->number = sc_get_le32(data + 10);
        header->blocks = sc_get_le16(data + 14);
        header->ends = 0;
    }
    return 0;
}

/* Walks the claimed blocks of a packet whose header was read. Returns how many of them carry a message, or
 * SC_MOLD_OVERRUN when a block does not lie wholly inside `length` bytes; then nothing of the packet is good.
 * Bytes after the last claimed block are padding and not looked at.
 *
 * In MoldUDP the first block of length 0 is the end of the session: sets header->ends, and the messages are
 * those in front of it. What follows it must be well formed, and is not counted. */
int32_t sc_mold_walk(int32_t protocol, const uint8_t *data, uint32_t length, sc_mold_header *header);

/* Decodes one packet. Fills the first `capacity` of its messages into `rows` (offsets count from `data`,
 * numbers from the header's) and returns how many messages it carries, which may be more than `capacity`; or
 * SC_MOLD_SHORT, or SC_MOLD_OVERRUN, after which header and rows mean nothing. The session is the first 10
 * bytes of `data`. */
/* [cdef] */
int32_t sc_mold_decode(int32_t protocol, const uint8_t *data, uint32_t length, sc_mold_header *header,
                       sc_message *rows, uint32_t capacity);
/* [/cdef] */

/* Packs messages 0..count-1 of a table, in order and whole, while they fit into `capacity` bytes of `out`, as
 * one downstream packet whose first message has `number` (the numbers in the rows are not looked at). The
 * rows lie inside the buffer at `base` (the caller's promise), and `out` does not overlap it. `*packed` is
 * the number of messages taken; the return value is the length of the packet. Both are 0 when `count` is 0 or
 * the first message does not fit: a packet without messages would be a heartbeat. When the first message
 * cannot be carried at all,
 * `*packed` is 0 and the result is negative:
 *
 *   SC_MOLD_EMPTY   MoldUDP: a message of no bytes would read as the end of the session
 *   SC_MOLD_LONG    a message above 65535 bytes has no length field
 *   SC_MOLD_NUMBER  `number` is 0, or above sc_mold_number_max
 *
 * A bad message that is not the first ends the packet in front of it, so that the good ones get out. */
/* [cdef] */
int32_t sc_mold_pack(int32_t protocol, const uint8_t *session, uint64_t number, const uint8_t *base,
                     const sc_message *rows, uint32_t count, uint8_t *out, uint32_t capacity,
                     uint32_t *packed);
/* [/cdef] */

#endif

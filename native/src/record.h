/* The record: payload first, 28 bytes of stamp last. The same bytes are a MoldUDP64 message block, the
 * payload of a SoupBinTCP sequenced data packet, and an entry of a segment file.
 *
 *   offset from the end   bytes   field
 *          -28              1     kind
 *          -27              1     flags
 *          -26              6     sender, ASCII, space-padded on the right
 *          -20              8     sender sequence
 *          -12              8     time, UTC nanoseconds
 *           -4              4     CRC-32C over stream number (8 bytes), payload, and the stamp before this
 * field
 *
 * All integers are big-endian. */
#ifndef SC_RECORD_H
#define SC_RECORD_H

#include <stdint.h>

#include "message.h"

/* [cdef] */
#define SC_STAMP_BYTES 28
#define SC_SENDER_BYTES 6
#define SC_RECORD_LIMIT 65485
#define SC_PAYLOAD_LIMIT 65457

#define SC_KIND_DATA 0
#define SC_KIND_EPOCH 1
#define SC_KIND_END 2
#define SC_KIND_ADMIT 3

#define SC_FLAG_FIRST 1
#define SC_FLAG_LAST 2

#define SC_RECORD_SHORT -1
#define SC_RECORD_CRC -2

typedef struct {
    uint64_t time;            /* UTC nanoseconds */
    uint64_t sender_sequence; /* 1, 2, 3 ... per sender and session */
    uint8_t sender[6];
    uint8_t kind;  /* SC_KIND_* */
    uint8_t flags; /* SC_FLAG_* */
} sc_stamp;

void sc_record_stamp(uint8_t *payload, uint32_t payload_length, uint64_t number, const sc_stamp *stamp);
int sc_record_check(const uint8_t *record, uint32_t length, uint64_t number);
void sc_record_read(const uint8_t *record, uint32_t length, sc_stamp *stamp);
uint32_t sc_records_read(const uint8_t *base, const sc_message *rows, uint32_t count, sc_stamp *stamps);
/* [/cdef] */

/* SC_RECORD_LIMIT: a record is one message block of one datagram: 65507 bytes of UDP payload over IPv4, less
 * the 20 bytes of the MoldUDP64 header and the 2 of the block's length.
 *
 * sc_record_stamp: writes the stamp behind the payload. The caller owns payload_length + SC_STAMP_BYTES bytes
 * at `payload`; the first payload_length of them are in place already and are covered by the CRC.
 *
 * sc_record_check: 0 when `record` is whole and belongs at stream number `number`; SC_RECORD_SHORT when it
 * cannot hold a stamp; SC_RECORD_CRC when a bit is wrong or it belongs elsewhere.
 *
 * sc_record_read: takes the stamp apart, without a check. `length` is at least SC_STAMP_BYTES.
 *
 * sc_records_read: the stamps of many records, without a check; stops before the first that is too short, and
 * returns how many were read. `stamps` has room for `count`. */

_Static_assert(sizeof(sc_stamp) == 24, "Python reads stamps as 24-byte rows");
_Static_assert(SC_PAYLOAD_LIMIT + SC_STAMP_BYTES == SC_RECORD_LIMIT, "a record is payload and stamp");
_Static_assert(SC_RECORD_LIMIT + 1 <= 65535, "a frame's length has 16 bits");

#endif

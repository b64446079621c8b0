/* The ordering kernel: one sender's submitted messages become stamped records at the end of the log. */
#ifndef SC_ORDER_H
#define SC_ORDER_H

#include <stdint.h>

#include "message.h"
#include "segment.h"
#include "senders.h"

/* [cdef] */
#define SC_SUBMIT_HEADER_BYTES 9

#define SC_ORDER_ALL 0
#define SC_ORDER_FULL 1
#define SC_ORDER_HOLE 2
#define SC_ORDER_SHORT 3
#define SC_ORDER_FLAGS 4
#define SC_ORDER_LONG 5
#define SC_ORDER_ZERO 6

typedef struct {
    uint32_t taken;      /* rows dealt with: stamped, or recognised as duplicates */
    uint32_t stamped;    /* rows that became records */
    uint32_t duplicates; /* rows that were in the stream already */
    int32_t stop;        /* SC_ORDER_*: why the rows after `taken` were left alone */
} sc_order_result;
/* [/cdef] */

/* [cdef] */
void sc_order(sc_segment *tail, sc_senders *senders, uint32_t slot, uint64_t time, uint32_t payload_limit,
              const uint8_t *base, const sc_message *rows, uint32_t count, sc_order_result *result);
/* [/cdef] */
/* Each row is the payload of one SoupBinTCP unsequenced packet: sender sequence (8 bytes, big-endian),
 * flags (1 byte), message. Rows are taken in order until one cannot be:
 *
 *   SC_ORDER_FULL   the segment has no room: open the next one and call again with the rest
 *   SC_ORDER_HOLE   a sender sequence was left out
 *   SC_ORDER_SHORT  shorter than its own header
 *   SC_ORDER_FLAGS  flag bits that have no meaning
 *   SC_ORDER_LONG   a message above payload_limit bytes
 *   SC_ORDER_ZERO   sender sequences start at 1
 *
 * A row whose sequence is not above the sender's last is a duplicate: taken, counted, not stamped again.
 * `slot` names the sender in `senders`; `time` is not below tail->last_time (the caller's promise). */

#endif

/* The sender table: the last sender sequence of every user in the stream, and the last committed one.
 *
 * Slots (indexes into `rows`) never move and are never given away while the table lives, so that others may
 * remember a sender by his slot. Lookup is open addressing on the six bytes of the name. */
#ifndef SC_SENDERS_H
#define SC_SENDERS_H

#include <stdint.h>

#include "segment.h"

/* [cdef] */
typedef struct {
    uint8_t sender[6];
    uint8_t used;
    uint8_t reserved;
    uint64_t sequence;           /* last sender sequence in the log, 0 before the first */
    uint64_t number;             /* the stream number it has */
    uint64_t committed_sequence; /* last sender sequence that is committed */
    uint64_t committed_number;   /* the stream number it has */
} sc_sender;

struct sc_senders {
    sc_sender *rows;
    uint32_t capacity; /* rows there can be */
    uint32_t count;    /* rows there are: slots 0 to count - 1 */
    uint32_t *buckets; /* slot + 1, 0 while empty */
    uint32_t bucket_mask;
    uint32_t latest; /* the slot that was asked for last: mostly it is asked for again */
};

sc_senders *sc_senders_new(uint32_t capacity);
void sc_senders_free(sc_senders *table);
int32_t sc_senders_find(const sc_senders *table, const uint8_t *sender);
int32_t sc_senders_add(sc_senders *table, const uint8_t *sender);
void sc_senders_note(sc_senders *table, const uint8_t *sender, uint64_t sequence, uint64_t number);
void sc_senders_reset(sc_senders *table);
/* [/cdef] */

#define SC_SENDERS_CAPACITY_LIMIT (1u << 24)

/* sc_senders_new: a table of at most `capacity` senders (1 to SC_SENDERS_CAPACITY_LIMIT); NULL when memory is
 * short or the capacity is out of range. The caller frees it with sc_senders_free, which accepts NULL.
 *
 * sc_senders_find: the slot of a sender, or -1. `sender` is SC_SENDER_BYTES long, compared as it is.
 *
 * sc_senders_add: his slot, a new one if he had none; -1 when the table is full.
 *
 * sc_senders_note: a data record of this sender was appended as stream number `number`. A sender who has no
 * slot gets one; when the table is full nothing is noted, so callers that must not lose him call
 * sc_senders_add first.
 *
 * sc_senders_reset: every sender's sequence and number become 0; slots, names and what is committed stay. */

_Static_assert(sizeof(sc_sender) == 40, "Python reads senders as 40-byte rows");

#endif

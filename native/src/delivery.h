/* The receiver's side of the record: checking records that came over a replay, and opening runs of whole
 * messages for the application. */
#ifndef SC_DELIVERY_H
#define SC_DELIVERY_H

#include <stdint.h>

#include "message.h"
#include "record.h"

/* [cdef] */
uint32_t sc_delivery_check(const uint8_t *base, const sc_message *rows, uint32_t count);
uint32_t sc_delivery_run(const uint8_t *base, const sc_message *rows, uint32_t count, sc_message *payloads,
                         sc_stamp *stamps);
void sc_delivery_copy(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                      sc_message *out_rows);
/* [/cdef] */

/* sc_delivery_check: how many of the leading rows are records that belong at their numbers (length and CRC).
 *
 * sc_delivery_run: opens the leading rows that are whole data messages: payloads[i] is the message without
 * its stamp, stamps[i] the stamp. Returns how many; the row after them is a fragment, a record of another
 * kind, or the end. Every row must have passed a check. stamps[n] of the n that it returns is the stamp of
 * the row it stopped at, if it stopped before the end.
 *
 * sc_delivery_copy: copies messages to `out`, one behind the other, and says in out_rows[i] where message i
 * lies there. `out` has room for the sum of the lengths, which is below 4 GiB; it is not part of `base`. */

#endif

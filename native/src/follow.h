/* What a primary sends to a follower who is in step with it: packets of the log, and commit numbers. */
#ifndef SC_FOLLOW_H
#define SC_FOLLOW_H

#include <stdint.h>

#include "segment.h"
#include "senders.h"

/* [cdef] */
#define SC_COMMIT_BYTES 17 /* payload of a commit packet: 'C', epoch (8), commit number (8) */

typedef struct {
    uint32_t consumed; /* bytes of packets that were taken */
    uint32_t records;  /* records among them, which were appended */
    uint64_t commit;   /* the highest commit number told so far: only ever raised */
} sc_following;

int32_t sc_follow(sc_segment *segment, sc_senders *senders, const uint8_t *data, uint32_t length,
                  uint64_t epoch, sc_following *following);
/* [/cdef] */

/* sc_follow: takes whole SoupBinTCP packets from the start of `data`: sequenced ones are records, appended as
 * sc_segment_append_records does; unsequenced ones that tell the commit number of `epoch` raise
 * following->commit, which may run ahead of the records. Sets the other fields of `following`. Ends before
 * the first packet that is anything else, is not whole, or is refused, and behind a control record. Returns
 * why appending ended (SC_STOP_*): with SC_STOP_CONTROL look at the last record, and go on; with anything
 * else the caller takes what is left by its ordinary way, and finds out there what is the matter with it. */

#endif

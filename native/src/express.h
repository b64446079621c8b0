/* Express turns: turns of a primary in which nothing happens but messages, in C from the wait to the wire.
 *
 * A turn waits for descriptors. Those of lanes (connections of senders that are in their most frequent state)
 * are read here, what they bring is ordered into the log, published and answered. Whatever is not that simple
 * is left to the owner, where it was found: other descriptors, packets that are no submissions, duplicates,
 * refusals, a full segment, a socket that takes no more. */
#ifndef SC_EXPRESS_H
#define SC_EXPRESS_H

#include <stdint.h>

#include "answers.h"
#include "latency.h"
#include "publish.h"
#include "segment.h"
#include "senders.h"
#include "wait.h"

/* [cdef] */
#define SC_EXPRESS_LINES 2

/* One connection of a sender. Its session is logged in; no bytes wait in its receive buffer or for its
 * socket. */
typedef struct {
    int32_t fd;
    uint32_t slot;       /* in the sender table */
    uint8_t *buffer;     /* the receive buffer of its session */
    uint32_t capacity;   /* bytes of it */
    uint32_t closed;     /* it is not to be read here: set by either side, taken back by the owner */
    uint32_t start, end; /* out: bytes of the buffer that were received and are left to the owner */
    uint32_t duplicates; /* out: messages that were in the stream already */
    uint32_t untold; /* out: where in `packets` of the answers those begin that the socket did not take ... */
    uint32_t untold_end; /* ... and end */
    uint64_t heard_ns;   /* out: when something was received last; monotonic, as all times here */
    uint64_t told_ns;    /* out: when something was sent last */
} sc_lane;

typedef struct {
    sc_senders *senders;
    sc_outgoing *outgoing;
    sc_answers *answers;
    sc_span *to_commit, *to_wire; /* how long records take */
    sc_message *rows;
    uint32_t row_capacity;
    uint32_t payload_limit;
    int32_t lines[SC_EXPRESS_LINES]; /* connected sockets */
    uint32_t line_count;
    uint32_t lane_limit;                  /* descriptors below this may be lanes */
    sc_lane **by_fd;                      /* the lane of a descriptor, or NULL */
    sc_lane **by_slot;                    /* the lane of a sender, or NULL */
    uint32_t segmented[SC_EXPRESS_LINES]; /* whether equal datagrams may leave in one piece */
    sc_segment *tail; /* which ends with the last record that is committed and published */
    /* out, counted on from call to call */
    uint64_t turns;                       /* in which messages came */
    uint64_t stamped;                     /* records */
    uint64_t datagrams[SC_EXPRESS_LINES]; /* that left on each line */
    /* out, of the last call */
    uint64_t number;                 /* the last record that is committed */
    uint64_t told;                   /* the last record whose sender was told, as far as he could be */
    uint64_t published_ns;           /* when something was published last; 0 for never */
    uint32_t behind;                 /* packets of the batch in `outgoing` wait for a line */
    uint32_t sent[SC_EXPRESS_LINES]; /* how many of them have left */
    uint64_t next_number;            /* the first record that is not in a batch */
    uint32_t exceptions;             /* lanes that have something for the owner */
} sc_express;

int32_t sc_express_run(sc_express *express, int epoll, sc_ready *ready, uint32_t capacity,
                       uint64_t timeout_ns, uint64_t spin_ns, uint64_t stay_ns);
/* [/cdef] */
/* sc_express_run: waits as sc_wait does, and takes turns until there is something for the owner, the time is
 * over, or the first message is `stay_ns` old. Fills `ready` with the descriptors that are left to the owner,
 * lanes that have bytes for him among them; returns how many, or a negative errno.
 *
 * One copy of a record is enough for it to be committed here: that is the caller's promise, and that nobody
 * else appends, commits or publishes meanwhile. */

#endif

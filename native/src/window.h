/* The receiver's reorder window: datagrams in any order in, messages in stream order out, without a copy.
 *
 * One slab is cut into blocks, and one datagram lies in one block. A block is
 *
 *   free       datagrams are received straight into it
 *   pending    received, not looked at yet
 *   held       good, but messages before it are missing; held blocks are kept in order of their numbers
 *   current    in order, and partly delivered because the caller's table was full
 *
 * and free again as soon as its last message is delivered: its bytes stay as they are until the next call of
 * sc_window_receive or sc_window_put, which is how long the rows of sc_window_messages stay good.
 *
 * The window trusts no peer. What it drops it counts, see sc_window_state. */
#ifndef SC_WINDOW_H
#define SC_WINDOW_H

#include <stdint.h>

#include "message.h"
#include "mold.h"

/* [cdef] */
#define SC_WINDOW_LINES 4

/* Most datagrams that the kernel coalesces into one buffer: UDP_MAX_SEGMENTS since Linux 6.10, twice what it
 * was. */
#define SC_WINDOW_SEGMENTS 128

#define SC_WINDOW_FULL -10001
#define SC_WINDOW_LINE -10002

typedef struct {
    uint64_t next_number; /* of the next message to deliver; 0 while it waits for the first packet */
    uint64_t highest;     /* highest next-number heard of, from data, heartbeats or the end of the session */
    uint64_t end_number;  /* next-number at the end of the session; 0 while that is not known */
    uint32_t ended;       /* 1 when next_number reached end_number */
    uint32_t session_known;
    uint8_t session[10];

    uint64_t datagrams; /* read or put, good or bad */
    uint64_t messages;  /* delivered */
    uint64_t heartbeats;
    uint64_t ends;            /* end-of-session packets that were believed */
    uint64_t foreign_session; /* datagrams of another session */
    uint64_t malformed;       /* datagrams shorter than a header, or with a block that runs over the end */
    uint64_t overlong;        /* datagrams larger than a block */
    uint64_t surplus;         /* datagrams beyond SC_WINDOW_SEGMENTS in one buffer, dropped */
    uint64_t impossible;      /* datagrams numbered 0, beyond what can be counted, or beyond max_jump */
    uint64_t duplicates;      /* messages that had been delivered, or are held */
    uint64_t after_end;       /* messages and heartbeats numbered beyond the end of the session */
    uint64_t early_ends;      /* end-of-session packets below what was already heard of */
    uint64_t held;            /* datagrams held now (a gauge) */
    uint64_t evicted;         /* held datagrams given up for newer ones */
    uint64_t corrupt;         /* datagrams cut at a message that failed the check */
    uint64_t refused;         /* errors that ICMP left on the socket: a request went nowhere */
    uint64_t line_datagrams[4];
    uint64_t line_heard[4];   /* of them the good ones of the session, duplicates among them */
    uint64_t line_highest[4]; /* highest next-number heard of on each line */

    uint8_t foreign[10];      /* the other session heard last; means nothing while foreign_row is 0 */
    uint64_t foreign_row;     /* good datagrams of it since one of a third session came, or since its end */
    uint64_t foreign_number;  /* the highest number in them */
    uint64_t foreign_highest; /* the highest next-number in them */
} sc_window_state;

typedef struct {
    uint64_t first;
    uint64_t count;
} sc_gap;

typedef int (*sc_message_check)(const uint8_t *message, uint32_t length, uint64_t number);

typedef struct sc_window sc_window;
/* [/cdef] */

/* A window of `blocks` blocks of `block_bytes`, for datagrams of at most block_bytes.
 *
 *   slab      blocks * block_bytes bytes, below 4 GiB; the caller's, and kept by the caller until the window
 * is freed and no row is used any more batch     datagrams in one sc_window_receive, at least 1. `blocks` -
 * `batch` datagrams can be held, which must be at least 1: a full pool of held datagrams never stands in the
 * way of the next batch start     number of the first message to deliver; 0 begins at the first packet,
 * whatever its number session   10 bytes, or NULL: the first good packet decides max_jump  a packet that ends
 * more than this beyond next_number is impossible check     NULL, or a function that returns 0 for a good
 * message; it is called once for each message, right before that would be delivered. A bad one is not
 * delivered, nor is the rest of its datagram: they stay a gap
 *
 * NULL when an argument is out of its range or memory is short. The caller frees the window. */
/* [cdef] */
sc_window *sc_window_new(int32_t protocol, uint8_t *slab, uint32_t blocks, uint32_t block_bytes,
                         uint32_t batch, uint64_t start, const uint8_t *session, uint64_t max_jump,
                         sc_message_check check);
void sc_window_free(sc_window *window);
/* [/cdef] */

/* The window's numbers and counters, to be read and not written; good as long as the window. */
/* [cdef] */
const sc_window_state *sc_window_state_of(const sc_window *window);
/* [/cdef] */

/* Reads at most `batch` datagrams from the socket `fd`, never waiting, into free blocks. Returns how many
 * were read, the overlong among them; 0 when none waits, or when no block is free because sc_window_messages
 * was not called often enough (they stay in the socket then); SC_WINDOW_LINE when `line` is not below
 * SC_WINDOW_LINES; otherwise a negative errno, which is always above these two codes. A datagram is counted
 * for its line; lines are equal otherwise. Invalidates rows. */
/* [cdef] */
int32_t sc_window_receive(sc_window *window, int fd, uint32_t line);
/* [/cdef] */

/* The same for a socket with UDP_GRO on, where one read may bring up to SC_WINDOW_SEGMENTS datagrams of one
 * sender, coalesced. The first lies in its block as it came, the others are copied into blocks of their own:
 * that costs a hundredth of what a datagram costs that comes alone. Reads so many buffers that whatever they
 * hold finds free blocks: none while fewer than SC_WINDOW_SEGMENTS are free, so a window for such a socket
 * has a `batch` of at least that many, and better some times as many. Returns how many datagrams there were;
 * -EINVAL when `batch` is smaller, -ENOMEM when there is no memory for what is coalesced (some MiB, taken in
 * the first call). */
/* [cdef] */
int32_t sc_window_receive_coalesced(sc_window *window, int fd, uint32_t line);
/* [/cdef] */

/* Copies one datagram into a free block. 0, also when it is overlong and dropped; SC_WINDOW_FULL when no
 * block is free: call sc_window_messages until it returns 0, and put again; or SC_WINDOW_LINE. Invalidates
 * rows. */
/* [cdef] */
int32_t sc_window_put(sc_window *window, const uint8_t *data, uint32_t length, uint32_t line);
/* [/cdef] */

/* Goes through pending datagrams and fills at most `capacity` rows with the messages that are next in the
 * stream: their numbers follow each other, across calls too, and their offsets count from the start of the
 * slab. Returns how many; fewer than `capacity` means that nothing is pending any more. */
/* [cdef] */
uint32_t sc_window_messages(sc_window *window, sc_message *rows, uint32_t capacity);
/* [/cdef] */

/* Messages below `next` came by another way: they will not be delivered. Never goes back. Held datagrams that
 * lie below are let go as duplicates. Rows stay good. */
/* [cdef] */
void sc_window_advance(sc_window *window, uint64_t next);
/* [/cdef] */

/* Fills `gaps` with the holes between next_number and highest that no held datagram covers, lowest first.
 * Pending datagrams are not looked at: call sc_window_messages before. Returns how many were filled, at most
 * `capacity`. */
/* [cdef] */
uint32_t sc_window_gaps(const sc_window *window, sc_gap *gaps, uint32_t capacity);
/* [/cdef] */

#endif

/* The sender's outbox: submitted messages, framed, until they are acknowledged.
 *
 * Frames lie one after the other as SoupBinTCP unsequenced packets: length 2, 'U', sender sequence 8, flags
 * 1, payload. What was sent is kept, because after a reconnection it may have to be sent again. */
#ifndef SC_OUTBOX_H
#define SC_OUTBOX_H

#include <stdint.h>

#include "message.h"

/* [cdef] */
typedef struct {
    uint8_t *data;
    uint64_t capacity;       /* bytes */
    uint64_t head;           /* offset of the first frame that is not acknowledged */
    uint64_t sent;           /* offset of the next byte for the connection; may lie inside a frame */
    uint64_t edge;           /* end of the frame that `sent` lies in, or `sent` itself between frames */
    uint64_t tail;           /* offset behind the last frame */
    uint64_t first_sequence; /* sender sequence of the frame at head */
    uint64_t next_sequence;  /* sender sequence of the next frame */
    uint64_t partial;        /* bytes of the message in hand that are framed already */
    uint64_t messages;       /* whole messages framed so far */
} sc_outbox;

#define SC_OUTBOX_FRAME_BYTES 12

/* While so many sends as large as the next one are on their way, it may wait for an acknowledgement. A stream
 * of 20,000 messages a second has two or three on their way. */
#define SC_OUTBOX_BUSY_SENDS 8

sc_outbox *sc_outbox_new(uint64_t capacity);
void sc_outbox_free(sc_outbox *outbox);
void sc_outbox_begin(sc_outbox *outbox, uint64_t sequence);
uint32_t sc_outbox_put(sc_outbox *outbox, const uint8_t *base, const sc_message *rows, uint32_t count,
                       uint32_t fragment_bytes);
uint64_t sc_outbox_put_one(sc_outbox *outbox, const uint8_t *message, uint64_t length,
                           uint32_t fragment_bytes);
int64_t sc_outbox_send(sc_outbox *outbox, int fd, uint64_t most);
void sc_outbox_left(sc_outbox *outbox, uint64_t count);
uint64_t sc_outbox_acknowledge(sc_outbox *outbox, uint64_t sequence);
int sc_outbox_resume(sc_outbox *outbox, uint64_t sequence);
uint32_t sc_outbox_skip(sc_outbox *outbox, const sc_message *rows, uint32_t count, uint32_t fragment_bytes,
                        uint64_t *frames);
/* [/cdef] */

/* sc_outbox_begin: empties the outbox; the next frame gets `sequence` (at least 1).
 *
 * sc_outbox_put: frames messages, splitting what is longer than fragment_bytes; returns how many were framed
 * whole. Fewer than count means that the outbox is full: call again, after acknowledgements, with the rest. A
 * message that was framed in part goes on where it stopped, so the same message must be offered first.
 *
 * sc_outbox_put_one: frames one message of one frame; 1, or 0 when it is not for this: another one is in
 * hand, it needs fragments, or there is no room.
 *
 * sc_outbox_send: sends what waits to a TCP socket, never waiting, at most `most` bytes in one system call,
 * until everything has left or the socket takes no more. Returns how many bytes left, or a negative errno
 * when none did. While SC_OUTBOX_BUSY_SENDS times as much is on its way the kernel may keep what is less than
 * a full segment: it sends that with the next acknowledgement, which those bytes bring, or with what is sent
 * next. So sends batch by themselves when they come fast, and nothing is left behind by who falls silent.
 *
 * sc_outbox_left: `count` bytes from `sent` on went to the connection.
 *
 * sc_outbox_acknowledge: frees every frame up to `sequence`, and no frame that was not sent; returns how
 * many.
 *
 * sc_outbox_resume: the next byte to send is the first of the frame after `sequence`; 0, or -1 when that
 * frame is neither in the outbox nor the next to come.
 *
 * sc_outbox_skip: passes over messages whose first *frames frames are in the stream already. Returns how many
 * messages those frames cover whole and takes their frames off *frames; a message that they cover in part is
 * noted as partial, so that sc_outbox_put goes on inside it. */

#endif

#define _GNU_SOURCE
#include "outbox.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "bytes.h"
#include "record.h"

sc_outbox *sc_outbox_new(uint64_t capacity)
{
    sc_outbox *o = calloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    o->data = malloc(capacity);
    if (o->data == NULL) {
        free(o);
        return NULL;
    }
    o->capacity = capacity;
    sc_outbox_begin(o, 1);
    return o;
}

void sc_outbox_free(sc_outbox *o)
{
    if (o == NULL)
        return;
    free(o->data);
    free(o);
}

void sc_outbox_begin(sc_outbox *o, uint64_t sequence)
{
    o->head = o->sent = o->edge = o->tail = 0;
    o->first_sequence = o->next_sequence = sequence;
    o->partial = 0;
    o->messages = 0;
}

/* Makes the frames contiguous from the start of the buffer again. Costs a move of what is unacknowledged, and
 * is done only when at least half of the buffer is gained by it. */
static void compact(sc_outbox *o)
{
    if (o->head < o->capacity / 2 && o->head != o->tail)
        return;
    memmove(o->data, o->data + o->head, o->tail - o->head);
    o->sent -= o->head;
    o->edge -= o->head;
    o->tail -= o->head;
    o->head = 0;
}

uint32_t sc_outbox_put(sc_outbox *o, const uint8_t *base, const sc_message *rows, uint32_t count,
                       uint32_t fragment_bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *message = base + rows[i].offset;
        uint32_t length = rows[i].length;
        do {
            uint32_t rest = length - (uint32_t)o->partial;
            uint32_t part = rest < fragment_bytes ? rest : fragment_bytes;
            if (o->capacity - o->tail < SC_OUTBOX_FRAME_BYTES + part) {
                compact(o);
                if (o->capacity - o->tail < SC_OUTBOX_FRAME_BYTES + part)
                    return i;
            }
            uint8_t *frame = o->data + o->tail;
            sc_put_be16(frame, (uint16_t)(SC_OUTBOX_FRAME_BYTES - 2 + part));
            frame[2] = 'U';
            sc_put_be64(frame + 3, o->next_sequence);
            frame[11] = (uint8_t)((o->partial == 0 ? SC_FLAG_FIRST : 0) | (part == rest ? SC_FLAG_LAST : 0));
            if (part > 0)
                memcpy(frame + SC_OUTBOX_FRAME_BYTES, message + o->partial, part);
            o->tail += SC_OUTBOX_FRAME_BYTES + part;
            o->next_sequence++;
            o->partial += part;
        } while (o->partial < length);
        o->partial = 0;
        o->messages++;
    }
    return count;
}

uint64_t sc_outbox_put_one(sc_outbox *o, const uint8_t *message, uint64_t length, uint32_t fragment_bytes)
{
    if (o->partial != 0 || length > fragment_bytes)
        return 0;
    sc_message row = {.offset = 0, .length = (uint32_t)length};
    return sc_outbox_put(o, message, &row, 1, fragment_bytes) == 1 ? o->next_sequence - 1 : 0;
}

/* Sends at once what the kernel kept, unless bytes are on their way whose acknowledgement does it. It is
 * asked after the send: an acknowledgement that comes in between has done it already. */
static void push(int fd, uint64_t busy)
{
    int queued = 0, kept = 0, on = 1;
    if (ioctl(fd, SIOCOUTQ, &queued) == 0 && ioctl(fd, SIOCOUTQNSD, &kept) == 0 &&
        (kept == 0 || (uint64_t)(queued - kept) >= busy))
        return;
    /* Setting it pushes, though it is set. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int64_t sc_outbox_send(sc_outbox *o, int fd, uint64_t most)
{
    int64_t total = 0;
    while (o->sent < o->tail) {
        uint64_t rest = o->tail - o->sent, part = rest < most ? rest : most;
        uint64_t busy = SC_OUTBOX_BUSY_SENDS * part;
        int keeps = o->sent - o->head >= busy;
        ssize_t count =
            send(fd, o->data + o->sent, part, MSG_DONTWAIT | MSG_NOSIGNAL | (keeps ? MSG_MORE : 0));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return total > 0 ? total : -(int64_t)errno;
        if (keeps && part == rest)
            push(fd, busy);
        sc_outbox_left(o, (uint64_t)count);
        total += count;
        if ((uint64_t)count < part)
            break;
    }
    return total;
}

static uint64_t frame_bytes(const sc_outbox *o, uint64_t offset)
{
    return 2u + sc_get_be16(o->data + offset);
}

void sc_outbox_left(sc_outbox *o, uint64_t count)
{
    o->sent += count;
    while (o->edge < o->sent)
        o->edge += frame_bytes(o, o->edge);
}

uint64_t sc_outbox_acknowledge(sc_outbox *o, uint64_t sequence)
{
    uint64_t freed = 0;
    while (o->first_sequence <= sequence && o->head < o->tail) {
        uint64_t bytes = frame_bytes(o, o->head);
        if (o->sent - o->head < bytes)
            break;
        o->head += bytes;
        o->first_sequence++;
        freed++;
    }
    if (o->head == o->tail)
        o->head = o->sent = o->edge = o->tail = 0;
    return freed;
}

int sc_outbox_resume(sc_outbox *o, uint64_t sequence)
{
    if (sequence + 1 < o->first_sequence || sequence >= o->next_sequence)
        return -1;
    uint64_t offset = o->head;
    for (uint64_t at = o->first_sequence; at <= sequence; at++)
        offset += frame_bytes(o, offset);
    o->sent = o->edge = offset;
    return 0;
}

uint32_t sc_outbox_skip(sc_outbox *o, const sc_message *rows, uint32_t count, uint32_t fragment_bytes,
                        uint64_t *frames)
{
    uint32_t i = 0;
    for (; i < count && *frames > 0; i++) {
        uint64_t needed = ((uint64_t)rows[i].length + fragment_bytes - 1) / fragment_bytes;
        if (needed == 0)
            needed = 1;
        if (needed > *frames) {
            o->partial = *frames * fragment_bytes;
            *frames = 0;
            break;
        }
        *frames -= needed;
    }
    return i;
}

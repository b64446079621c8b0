#define _GNU_SOURCE
#include "window.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#ifndef UDP_GRO
#define UDP_GRO 104 /* linux/udp.h, which cannot be included beside netinet/in.h everywhere */
#endif

enum { NONE = UINT32_MAX };

enum {
    BUFFER_BYTES = 65536, /* more than any datagram, or all that are coalesced */
    SINGLE_BUFFERS =
        64,           /* read in one call while they hold a datagram each: makes the price of a call small */
    FULL_BUFFERS = 4, /* while they hold many: what they bring stays in the cache */
    ENOUGH = 96       /* datagrams, with which a call is content */
};

/* What reading coalesced datagrams needs. A buffer is a free block, and behind it, for what does not fit
 * that, BUFFER_BYTES of `overflow`, whose first block_bytes are left free to make the whole contiguous. */
struct coalesced {
    uint32_t buffers;               /* to read in the next call */
    uint32_t first[SINGLE_BUFFERS]; /* the block that each begins in */
    struct mmsghdr headers[SINGLE_BUFFERS];
    struct iovec vectors[SINGLE_BUFFERS][2];
    _Alignas(struct cmsghdr) uint8_t control[SINGLE_BUFFERS][CMSG_SPACE(sizeof(int))];
    uint8_t overflow[];
};

struct block {
    uint64_t number; /* of its first message */
    uint64_t end;    /* number after its last message */
    uint32_t length; /* bytes of the datagram */
    uint32_t line;
};

struct sc_window {
    sc_window_state state;
    int32_t protocol;
    uint32_t blocks;
    uint32_t block_bytes;
    uint32_t batch;
    uint64_t max_jump;
    sc_message_check check;
    uint8_t *slab;
    struct block *block; /* what is known of each block */

    uint32_t *free; /* a stack, so that the block used last, still in the cache, is used next */
    uint32_t free_count;

    uint32_t *pending; /* a ring of `blocks` entries, oldest first */
    uint32_t pending_first;
    uint32_t pending_count;

    /* Held blocks are held[held_first .. held_first + held_count - 1]. Invariant: both their numbers and
     * their ends strictly increase, so no block lies inside another. The array is twice as long as needed: it
     * is moved back to its start only every held_max removals from its front. */
    uint32_t *held;
    uint32_t held_first;
    uint32_t held_count;
    uint32_t held_max;

    /* The block in delivery, or NONE, and where its delivery stands. */
    uint32_t current;
    uint32_t current_offset; /* of the next message block, from the start of the slab */
    uint64_t current_number; /* of the message in it */

    struct mmsghdr *headers;
    struct iovec *vectors;
    struct coalesced *coalesced; /* NULL before the first call that needs it */
};

sc_window *sc_window_new(int32_t protocol, uint8_t *slab, uint32_t blocks, uint32_t block_bytes,
                         uint32_t batch, uint64_t start, const uint8_t *session, uint64_t max_jump,
                         sc_message_check check)
{
    if ((protocol != SC_MOLDUDP64 && protocol != SC_MOLDUDP) || slab == NULL || batch == 0 || blocks <= batch)
        return NULL;
    if (block_bytes < sc_mold_header_bytes(protocol) || (uint64_t)blocks * block_bytes > UINT32_MAX)
        return NULL;
    if (start > sc_mold_next_max(protocol))
        return NULL;
    sc_window *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->protocol = protocol;
    w->blocks = blocks;
    w->block_bytes = block_bytes;
    w->batch = batch;
    w->max_jump = max_jump;
    w->check = check;
    w->slab = slab;
    w->state.next_number = w->state.highest = start;
    if (session != NULL) {
        memcpy(w->state.session, session, sizeof w->state.session);
        w->state.session_known = 1;
    }
    w->held_max = blocks - batch;
    w->current = NONE;
    w->block = calloc(blocks, sizeof *w->block);
    w->free = calloc(blocks, sizeof *w->free);
    w->pending = calloc(blocks, sizeof *w->pending);
    w->held = calloc(w->held_max, 2 * sizeof *w->held);
    w->headers = calloc(batch, sizeof *w->headers);
    w->vectors = calloc(batch, sizeof *w->vectors);
    if (w->block == NULL || w->free == NULL || w->pending == NULL || w->held == NULL || w->headers == NULL ||
        w->vectors == NULL) {
        sc_window_free(w);
        return NULL;
    }
    for (uint32_t i = 0; i < blocks; i++)
        w->free[i] = blocks - 1 - i;
    w->free_count = blocks;
    for (uint32_t i = 0; i < batch; i++) {
        w->vectors[i].iov_len = block_bytes;
        w->headers[i].msg_hdr.msg_iov = &w->vectors[i];
        w->headers[i].msg_hdr.msg_iovlen = 1;
    }
    return w;
}

void sc_window_free(sc_window *w)
{
    if (w == NULL)
        return;
    free(w->block);
    free(w->free);
    free(w->pending);
    free(w->held);
    free(w->headers);
    free(w->vectors);
    free(w->coalesced);
    free(w);
}

const sc_window_state *sc_window_state_of(const sc_window *w)
{
    return &w->state;
}

static uint8_t *bytes_of(const sc_window *w, uint32_t id)
{
    return w->slab + (size_t)id * w->block_bytes;
}

static void release(sc_window *w, uint32_t id)
{
    w->free[w->free_count++] = id;
}

static void push_pending(sc_window *w, uint32_t id, uint32_t length, uint32_t line)
{
    w->block[id].length = length;
    w->block[id].line = line;
    uint32_t position = w->pending_first + w->pending_count; /* no overflow: blocks are at most 2^32 / 16 */
    w->pending[position < w->blocks ? position : position - w->blocks] = id;
    w->pending_count++;
}

static uint32_t pop_pending(sc_window *w)
{
    uint32_t id = w->pending[w->pending_first];
    w->pending_first = w->pending_first + 1 < w->blocks ? w->pending_first + 1 : 0;
    w->pending_count--;
    return id;
}

static void count_datagrams(sc_window *w, uint32_t line, uint64_t count)
{
    w->state.datagrams += count;
    w->state.line_datagrams[line] += count;
}

/* Errors that an ICMP answer to an earlier datagram of ours left on the socket; reading them clears them. */
static int parked(int error)
{
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH;
}

/* How many of `headers` were filled; 0 when nothing waits, or a negative errno. */
static int receive(sc_window *w, int fd, struct mmsghdr *headers, uint32_t count)
{
    int read;
    do
        read = recvmmsg(fd, headers, count, MSG_DONTWAIT, NULL);
    while (read < 0 && errno == EINTR);
    if (read >= 0)
        return read;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return 0;
    if (parked(errno)) {
        w->state.refused++;
        return 0;
    }
    return -errno;
}

int32_t sc_window_receive(sc_window *w, int fd, uint32_t line)
{
    if (line >= SC_WINDOW_LINES)
        return SC_WINDOW_LINE;
    uint32_t room = w->free_count < w->batch ? w->free_count : w->batch;
    if (room == 0)
        return 0;
    for (uint32_t i = 0; i < room; i++)
        w->vectors[i].iov_base = bytes_of(w, w->free[w->free_count - 1 - i]);
    int read = receive(w, fd, w->headers, room);
    if (read <= 0)
        return read;
    uint32_t count = (uint32_t)read;
    count_datagrams(w, line, count);
    uint32_t top = w->free_count, overlong = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (w->headers[i].msg_hdr.msg_flags & MSG_TRUNC)
            overlong++;
        else
            push_pending(w, w->free[top - 1 - i], w->headers[i].msg_len, line);
    }
    w->free_count -= count;
    if (overlong == 0)
        return read;
    w->state.overlong += overlong;
    /* From the lowest entry up, so that an entry is read before a block that is given back takes its place.
     */
    for (uint32_t i = count; i-- > 0;) {
        if (w->headers[i].msg_hdr.msg_flags & MSG_TRUNC)
            release(w, w->free[top - 1 - i]);
    }
    return read;
}

/* Makes room for coalesced datagrams: 4 MiB that are touched only as far as datagrams really are coalesced.
 */
static struct coalesced *coalesced_of(sc_window *w)
{
    if (w->coalesced != NULL)
        return w->coalesced;
    size_t stride = (size_t)BUFFER_BYTES + w->block_bytes;
    struct coalesced *c = malloc(sizeof *c + SINGLE_BUFFERS * stride);
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof *c);
    c->buffers = SINGLE_BUFFERS;
    for (uint32_t i = 0; i < SINGLE_BUFFERS; i++) {
        c->vectors[i][0].iov_len = w->block_bytes;
        c->vectors[i][1] =
            (struct iovec){.iov_base = c->overflow + i * stride + w->block_bytes, .iov_len = BUFFER_BYTES};
        c->headers[i].msg_hdr.msg_iov = c->vectors[i];
        c->headers[i].msg_hdr.msg_iovlen = 2;
        c->headers[i].msg_hdr.msg_control = c->control[i];
    }
    w->coalesced = c;
    return c;
}

/* The size of the datagrams in a buffer, of which the last may be shorter; `length` when it holds one alone.
 */
static uint32_t segment_bytes(struct msghdr *header, uint32_t length)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            if (size > 0 && (uint32_t)size < length)
                return (uint32_t)size;
        }
    }
    return length;
}

/* Copies all but the first datagram of a buffer into free blocks; returns how many there were. `first` is the
 * block that the buffer begins in, `overflow` its other part, block_bytes behind the start of its room. */
static uint32_t split(sc_window *w, uint32_t first, uint8_t *overflow, uint32_t length, uint32_t size,
                      uint32_t line)
{
    uint32_t count = length / size + (length % size != 0);
    uint32_t kept = count < SC_WINDOW_SEGMENTS ? count : SC_WINDOW_SEGMENTS;
    w->state.surplus += count - kept;
    uint8_t *whole = overflow - w->block_bytes;
    if (size < w->block_bytes) {
        uint32_t inside = length < w->block_bytes ? length : w->block_bytes;
        memcpy(whole + size, bytes_of(w, first) + size, inside - size);
    }
    for (uint32_t i = 1; i < kept; i++) {
        uint32_t offset = i * size, rest = length - offset, bytes = rest < size ? rest : size;
        if (bytes > w->block_bytes) {
            w->state.overlong++;
            continue;
        }
        uint32_t id = w->free[--w->free_count];
        memcpy(bytes_of(w, id), whole + offset, bytes);
        push_pending(w, id, bytes, line);
    }
    return count;
}

/* Reads into at most `room` buffers, which begin in the blocks on top of the free ones; returns how many,
 * their blocks taken off, 0 or a negative errno. */
static int read_buffers(sc_window *w, struct coalesced *c, int fd, uint32_t room)
{
    for (uint32_t i = 0; i < room; i++) {
        c->first[i] = w->free[w->free_count - 1 - i];
        c->vectors[i][0].iov_base = bytes_of(w, c->first[i]);
        c->headers[i].msg_hdr.msg_controllen = sizeof c->control[i];
    }
    int read = receive(w, fd, c->headers, room);
    if (read > 0) {
        w->free_count -= (uint32_t)read;
        c->buffers = SINGLE_BUFFERS;
    }
    return read;
}

/* Makes pending what buffer `i` holds; returns how many datagrams that were. */
static uint32_t take_buffer(sc_window *w, struct coalesced *c, uint32_t i, uint32_t line)
{
    uint32_t first = c->first[i], length = c->headers[i].msg_len;
    uint32_t size = segment_bytes(&c->headers[i].msg_hdr, length), count = 1;
    if (size <= w->block_bytes)
        push_pending(w, first, size, line);
    if (size < length) {
        count = split(w, first, c->vectors[i][1].iov_base, length, size, line);
        c->buffers = FULL_BUFFERS;
    }
    if (size > w->block_bytes) {
        w->state.overlong++;
        release(w, first);
    }
    return count;
}

int32_t sc_window_receive_coalesced(sc_window *w, int fd, uint32_t line)
{
    if (line >= SC_WINDOW_LINES)
        return SC_WINDOW_LINE;
    if (w->batch < SC_WINDOW_SEGMENTS)
        return -EINVAL;
    struct coalesced *c = coalesced_of(w);
    if (c == NULL)
        return -ENOMEM;
    uint32_t datagrams = 0, room;
    int read;
    do {
        room = w->free_count / SC_WINDOW_SEGMENTS;
        if (room > c->buffers)
            room = c->buffers;
        read = room == 0 ? 0 : read_buffers(w, c, fd, room);
        for (int i = 0; i < read; i++)
            datagrams += take_buffer(w, c, (uint32_t)i, line);
    } while (read > 0 && (uint32_t)read == room && datagrams < ENOUGH);
    count_datagrams(w, line, datagrams);
    return read < 0 && datagrams == 0 ? read : (int32_t)datagrams; /* such an error comes again */
}

int32_t sc_window_put(sc_window *w, const uint8_t *data, uint32_t length, uint32_t line)
{
    if (line >= SC_WINDOW_LINES)
        return SC_WINDOW_LINE;
    if (w->free_count == 0)
        return SC_WINDOW_FULL;
    count_datagrams(w, line, 1);
    if (length > w->block_bytes) {
        w->state.overlong++;
        return 0;
    }
    uint32_t id = w->free[--w->free_count];
    if (length > 0)
        memcpy(bytes_of(w, id), data, length);
    push_pending(w, id, length, line);
    return 0;
}

/* The held block at `position`, counted from the lowest. */
static uint32_t held_at(const sc_window *w, uint32_t position)
{
    return w->held[w->held_first + position];
}

static struct block *held_block(const sc_window *w, uint32_t position)
{
    return &w->block[held_at(w, position)];
}

/* How many held blocks start at or below `number`. */
static uint32_t held_up_to(const sc_window *w, uint64_t number)
{
    uint32_t low = 0, high = w->held_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (held_block(w, middle)->number <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t pop_held(sc_window *w)
{
    uint32_t id = held_at(w, 0);
    w->held_first++;
    w->held_count--;
    if (w->held_count == 0)
        w->held_first = 0;
    return id;
}

static void drop_duplicate(sc_window *w, uint32_t id)
{
    w->state.duplicates += w->block[id].end - w->block[id].number;
    release(w, id);
}

/* Lets go of held blocks from..to-1, which lie inside a block that is about to be held. */
static void drop_held(sc_window *w, uint32_t from, uint32_t to)
{
    if (from == to)
        return;
    for (uint32_t i = from; i < to; i++)
        drop_duplicate(w, held_at(w, i));
    uint32_t *at = w->held + w->held_first;
    memmove(at + from, at + to, (w->held_count - to) * sizeof *at);
    w->held_count -= to - from;
}

static void insert_held(sc_window *w, uint32_t position, uint32_t id)
{
    if (w->held_first + w->held_count == 2 * w->held_max) {
        memmove(w->held, w->held + w->held_first, w->held_count * sizeof *w->held);
        w->held_first = 0;
    }
    uint32_t *at = w->held + w->held_first + position;
    memmove(at + 1, at, (w->held_count - position) * sizeof *at);
    *at = id;
    w->held_count++;
}

/* Keeps a good block that lies beyond next_number, unless held blocks cover it. */
static void hold(sc_window *w, uint32_t id)
{
    const struct block *b = &w->block[id];
    uint32_t position = held_up_to(w, b->number);
    if (position > 0) {
        const struct block *before = held_block(w, position - 1);
        if (before->end >= b->end) {
            drop_duplicate(w, id);
            return;
        }
        if (position < w->held_count) {
            const struct block *after = held_block(w, position);
            if (after->number <= before->end && after->end >= b->end) {
                drop_duplicate(w, id);
                return;
            }
        }
        if (before->number == b->number)
            position--; /* it lies inside the new one */
    }
    uint32_t inside = position;
    while (inside < w->held_count && held_block(w, inside)->end <= b->end)
        inside++;
    drop_held(w, position, inside);
    if (w->held_count == w->held_max) {
        /* The lowest goes: what is lowest is the first that a replay brings, and the live end stays. */
        w->state.evicted++;
        if (position == 0) {
            release(w, id);
            return;
        }
        release(w, pop_held(w));
        position--;
    }
    insert_held(w, position, id);
}

/* The number after the last message that is delivered, in delivery or held. */
static uint64_t data_end(const sc_window *w)
{
    uint64_t end = w->state.next_number;
    if (w->current != NONE && w->block[w->current].end > end)
        end = w->block[w->current].end;
    if (w->held_count > 0 && held_block(w, w->held_count - 1)->end > end)
        end = held_block(w, w->held_count - 1)->end;
    return end;
}

/* In MoldUDP the end-of-session marker takes a number itself, so a next-number may lie one beyond the end. */
static uint64_t marker_numbers(const sc_window *w)
{
    return w->protocol == SC_MOLDUDP ? 1 : 0;
}

static void hear(sc_window *w, uint64_t next, uint32_t line)
{
    uint64_t *highest = &w->state.line_highest[line];
    if (next > *highest)
        *highest = next;
    if (w->state.end_number != 0 && next > w->state.end_number)
        next = w->state.end_number;
    if (next > w->state.highest)
        w->state.highest = next;
}

static void hear_end(sc_window *w, uint64_t end, uint32_t line)
{
    uint64_t known = w->state.end_number;
    if (known != 0 && end > known) {
        w->state.after_end++;
        return;
    }
    if (end < known || end < data_end(w) || end + marker_numbers(w) < w->state.highest) {
        w->state.early_ends++;
        return;
    }
    w->state.ends++;
    w->state.end_number = end;
    w->state.highest = end;
    hear(w, end, line);
}

/* Fixes what the first good packet decides. */
static void settle(sc_window *w, const uint8_t *data, uint64_t number)
{
    if (!w->state.session_known) {
        memcpy(w->state.session, data, sizeof w->state.session);
        w->state.session_known = 1;
    }
    if (w->state.next_number == 0)
        w->state.next_number = w->state.highest = number;
}

/* Makes a block the one in delivery, from its first message on. */
static void start_delivery(sc_window *w, uint32_t id)
{
    w->current = id;
    w->current_offset = id * w->block_bytes + sc_mold_header_bytes(w->protocol);
    w->current_number = w->block[id].number;
}

/* Whether a packet can be numbered so at all. */
static int countable(const sc_window *w, const sc_mold_header *header)
{
    return header->number != 0 && sc_mold_next_max(w->protocol) - header->number >= header->blocks;
}

/* Whether the header of a packet can be true: countable, and not absurdly far ahead. */
static int possible(const sc_window *w, const sc_mold_header *header)
{
    if (!countable(w, header))
        return 0;
    uint64_t end = header->number + header->blocks, next = w->state.next_number;
    return next == 0 || end <= next || end - next <= w->max_jump;
}

/* Keeps in view which other session speaks. One that says that it has ended is nobody's next. */
static void note_foreign(sc_window *w, const uint8_t *data, uint32_t length, sc_mold_header *header)
{
    w->state.foreign_session++;
    if (!countable(w, header))
        return;
    int32_t messages = sc_mold_walk(w->protocol, data, length, header);
    if (messages < 0)
        return;
    int same = memcmp(data, w->state.foreign, sizeof w->state.foreign) == 0;
    if (header->ends && !same)
        return;
    if (header->ends || !same) {
        memcpy(w->state.foreign, data, sizeof w->state.foreign);
        w->state.foreign_row = w->state.foreign_number = w->state.foreign_highest = 0;
    }
    if (header->ends)
        return;
    uint64_t next = header->number + (uint32_t)messages;
    w->state.foreign_row++;
    if (header->number > w->state.foreign_number)
        w->state.foreign_number = header->number;
    if (next > w->state.foreign_highest)
        w->state.foreign_highest = next;
}

/* Judges one pending datagram: it becomes current, held or free. */
static void judge(sc_window *w, uint32_t id)
{
    struct block *b = &w->block[id];
    const uint8_t *data = bytes_of(w, id);
    sc_mold_header header;
    if (sc_mold_read_header(w->protocol, data, b->length, &header) < 0) {
        w->state.malformed++;
        release(w, id);
        return;
    }
    if (w->state.session_known && memcmp(data, w->state.session, sizeof w->state.session) != 0) {
        note_foreign(w, data, b->length, &header);
        release(w, id);
        return;
    }
    if (!possible(w, &header)) {
        w->state.impossible++;
        release(w, id);
        return;
    }
    /* A count that the datagram cannot hold is not believed, not even as the count of a duplicate. */
    if (header.blocks > (b->length - sc_mold_header_bytes(w->protocol)) / SC_MOLD_BLOCK_BYTES) {
        w->state.malformed++;
        release(w, id);
        return;
    }
    b->number = header.number;
    b->end = header.number + header.blocks;
    if (header.blocks > 0 && b->end <= w->state.next_number && w->state.session_known) {
        /* The other line's copy: nothing in it can matter any more, so its blocks are not walked. */
        w->state.line_heard[b->line]++;
        hear(w, b->end, b->line);
        drop_duplicate(w, id);
        return;
    }
    int32_t messages = sc_mold_walk(w->protocol, data, b->length, &header);
    if (messages < 0) {
        w->state.malformed++;
        release(w, id);
        return;
    }
    settle(w, data, header.number);
    w->state.line_heard[b->line]++;
    b->end = header.number + (uint32_t)messages;
    if (header.ends) {
        hear_end(w, b->end, b->line);
    } else if (messages == 0) {
        w->state.heartbeats++;
        if (w->state.end_number != 0 && b->end > w->state.end_number + marker_numbers(w))
            w->state.after_end++;
        else
            hear(w, b->end, b->line);
    }
    if (w->state.end_number != 0 && b->end > w->state.end_number && messages > 0) {
        uint64_t kept = b->number < w->state.end_number ? w->state.end_number : b->number;
        w->state.after_end += b->end - kept;
        b->end = kept;
    }
    if (b->end == b->number) {
        release(w, id);
        return;
    }
    hear(w, b->end, b->line);
    if (b->end <= w->state.next_number)
        drop_duplicate(w, id);
    else if (b->number <= w->state.next_number)
        start_delivery(w, id);
    else
        hold(w, id);
}

/* Delivers from the current block; returns how many rows were filled. Frees the block when it is through. */
static uint32_t deliver(sc_window *w, sc_message *rows, uint32_t capacity)
{
    const uint8_t *slab = w->slab;
    const int32_t protocol = w->protocol;
    const uint64_t end = w->block[w->current].end;
    uint64_t number = w->current_number;
    uint32_t offset = w->current_offset, count = 0;
    while (number < end && number < w->state.next_number) {
        offset += SC_MOLD_BLOCK_BYTES + sc_mold_block_length(protocol, slab + offset);
        number++;
        w->state.duplicates++;
    }
    while (number < end && count < capacity) {
        uint32_t length = sc_mold_block_length(protocol, slab + offset);
        offset += SC_MOLD_BLOCK_BYTES;
        if (w->check != NULL && w->check(slab + offset, length, number) != 0) {
            w->state.corrupt++;
            break;
        }
        rows[count++] = (sc_message){number, offset, length};
        offset += length;
        number++;
    }
    if (number > w->state.next_number)
        w->state.next_number = number;
    w->state.messages += count;
    if (number < end && count == capacity) {
        w->current_number = number;
        w->current_offset = offset;
    } else {
        release(w, w->current);
        w->current = NONE;
    }
    return count;
}

static void update_ended(sc_window *w)
{
    w->state.ended = w->state.end_number != 0 && w->state.next_number >= w->state.end_number;
}

uint32_t sc_window_messages(sc_window *w, sc_message *rows, uint32_t capacity)
{
    uint32_t count = 0;
    while (count < capacity) {
        if (w->current != NONE) {
            count += deliver(w, rows + count, capacity - count);
        } else if (w->held_count > 0 && held_block(w, 0)->number <= w->state.next_number) {
            uint32_t id = pop_held(w);
            if (w->block[id].end <= w->state.next_number)
                drop_duplicate(w, id);
            else
                start_delivery(w, id);
        } else if (w->pending_count > 0) {
            judge(w, pop_pending(w));
        } else {
            break;
        }
    }
    w->state.held = w->held_count;
    update_ended(w);
    return count;
}

void sc_window_advance(sc_window *w, uint64_t next)
{
    if (next <= w->state.next_number)
        return;
    w->state.next_number = next;
    if (next > w->state.highest)
        w->state.highest = next;
    while (w->held_count > 0 && held_block(w, 0)->end <= next)
        drop_duplicate(w, pop_held(w));
    w->state.held = w->held_count;
    update_ended(w);
}

uint32_t sc_window_gaps(const sc_window *w, sc_gap *gaps, uint32_t capacity)
{
    uint32_t count = 0;
    uint64_t position = w->state.next_number;
    if (w->current != NONE && w->block[w->current].end > position)
        position = w->block[w->current].end;
    for (uint32_t i = 0; i < w->held_count && count < capacity; i++) {
        const struct block *b = held_block(w, i);
        if (b->number > position)
            gaps[count++] = (sc_gap){position, b->number - position};
        if (b->end > position)
            position = b->end;
    }
    if (w->state.highest > position && count < capacity)
        gaps[count++] = (sc_gap){position, w->state.highest - position};
    return count;
}

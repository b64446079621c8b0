#define _GNU_SOURCE
#include "publish.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bytes.h"

enum {
    MOLD_HEADER = 20,       /* MoldUDP64 1.00: session 10, sequence number 8, message count 2 */
    MOLD_COUNT_MAX = 65534, /* 65535 marks the end of the session */
    BLOCK_HEADER = 2,
    FRAME_HEADER = 3,           /* SoupBinTCP: packet length 2, type 1 */
    RUN_DATAGRAMS = 64,         /* what every kernel with UDP_SEGMENT cuts one send into at most */
    RUN_BYTES = 65535 - 20 - 8, /* payload of the IPv4 packet that the kernel cuts */
    CONTROL_BYTES = CMSG_SPACE(sizeof(uint16_t)),
};

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h */
#endif

/* What the kernel is to cut one send into: the size of a datagram. */
typedef union {
    char bytes[CONTROL_BYTES];
    struct cmsghdr align;
} segment_control;

struct sc_outgoing {
    uint8_t session[10];
    uint32_t capacity; /* datagrams */
    uint32_t datagram_bytes;
    uint32_t count;
    /* where the last fill ended, so that the next one need not search; an address alone could be mapped anew
     */
    const uint8_t *segment_base;
    uint64_t segment_first;
    uint64_t next_number;
    uint64_t next_offset;
    uint8_t *slab;         /* the datagrams of the batch, one right behind the other */
    struct iovec *vectors; /* of each datagram */
    struct iovec *runs;    /* of each send; so are the two below */
    struct mmsghdr *headers;
    segment_control *controls;
};

sc_outgoing *sc_outgoing_new(const uint8_t *session, uint32_t datagrams, uint32_t datagram_bytes)
{
    if (datagrams == 0 || datagram_bytes < MOLD_HEADER + BLOCK_HEADER)
        return NULL;
    sc_outgoing *o = calloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    memcpy(o->session, session, sizeof o->session);
    o->capacity = datagrams;
    o->datagram_bytes = datagram_bytes;
    o->slab = malloc((size_t)datagrams * datagram_bytes);
    o->vectors = calloc(datagrams, sizeof *o->vectors);
    o->runs = calloc(datagrams, sizeof *o->runs);
    o->headers = calloc(datagrams, sizeof *o->headers);
    o->controls = calloc(datagrams, sizeof *o->controls);
    if (o->slab == NULL || o->vectors == NULL || o->runs == NULL || o->headers == NULL ||
        o->controls == NULL) {
        sc_outgoing_free(o);
        return NULL;
    }
    for (uint32_t i = 0; i < datagrams; i++) {
        o->headers[i].msg_hdr.msg_iov = &o->runs[i];
        o->headers[i].msg_hdr.msg_iovlen = 1;
        o->controls[i].align.cmsg_level = SOL_UDP;
        o->controls[i].align.cmsg_type = UDP_SEGMENT;
        o->controls[i].align.cmsg_len = CMSG_LEN(sizeof(uint16_t));
    }
    return o;
}

void sc_outgoing_free(sc_outgoing *o)
{
    if (o == NULL)
        return;
    free(o->slab);
    free(o->vectors);
    free(o->runs);
    free(o->headers);
    free(o->controls);
    free(o);
}

/* Packs blocks from the frame at *offset on; advances *offset. Returns how many. */
static uint32_t pack(const sc_segment *s, uint64_t *offset, uint64_t wanted, uint8_t *out, uint32_t capacity,
                     uint32_t *length)
{
    const uint8_t *frame = s->base + *offset;
    uint32_t used = 0, packed = 0;
    while (packed < wanted && packed < MOLD_COUNT_MAX) {
        uint32_t record = (uint32_t)sc_get_be16(frame) - 1;
        if (capacity - used < BLOCK_HEADER + record)
            break;
        sc_put_be16(out + used, (uint16_t)record);
        memcpy(out + used + BLOCK_HEADER, frame + FRAME_HEADER, record);
        used += BLOCK_HEADER + record;
        frame += FRAME_HEADER + record;
        packed++;
    }
    *offset = (uint64_t)(frame - s->base);
    *length = used;
    return packed;
}

/* How many of records number..last the segment holds. */
static uint64_t held(const sc_segment *s, uint64_t number, uint64_t last)
{
    if (number < s->first || number - s->first >= s->count || last < number)
        return 0;
    uint64_t available = s->first + s->count - number;
    uint64_t wanted = last - number + 1;
    return wanted < available ? wanted : available;
}

uint64_t sc_outgoing_fill(sc_outgoing *o, const sc_segment *s, uint64_t number, uint64_t last)
{
    o->count = 0;
    uint64_t wanted = held(s, number, last);
    if (wanted == 0)
        return number;
    int continues = o->segment_base == s->base && o->segment_first == s->first && o->next_number == number;
    uint64_t offset = continues ? o->next_offset : sc_segment_locate(s, number);
    uint8_t *datagram = o->slab;
    while (wanted > 0 && o->count < o->capacity) {
        uint32_t length;
        uint32_t packed =
            pack(s, &offset, wanted, datagram + MOLD_HEADER, o->datagram_bytes - MOLD_HEADER, &length);
        if (packed == 0)
            break;
        memcpy(datagram, o->session, sizeof o->session);
        sc_put_be64(datagram + 10, number);
        sc_put_be16(datagram + 18, (uint16_t)packed);
        o->vectors[o->count].iov_base = datagram;
        o->vectors[o->count].iov_len = MOLD_HEADER + length;
        o->count++;
        datagram += MOLD_HEADER + length;
        number += packed;
        wanted -= packed;
    }
    o->segment_base = s->base;
    o->segment_first = s->first;
    o->next_number = number;
    o->next_offset = offset;
    return number;
}

/* The send of the datagrams from `from` on that may leave as one: all of one length, but the last may be
 * shorter. Returns how many they are. */
static uint32_t add_run(sc_outgoing *o, uint32_t send, uint32_t from, int segmented)
{
    const struct iovec *first = &o->vectors[from];
    uint32_t to = from + 1;
    size_t bytes = first->iov_len;
    while (segmented && to < o->count && to - from < RUN_DATAGRAMS) {
        size_t length = o->vectors[to].iov_len;
        if (length > first->iov_len || bytes + length > RUN_BYTES)
            break;
        bytes += length;
        to++;
        if (length < first->iov_len)
            break;
    }
    o->runs[send].iov_base = first->iov_base;
    o->runs[send].iov_len = bytes;
    struct msghdr *header = &o->headers[send].msg_hdr;
    header->msg_control = NULL;
    header->msg_controllen = 0;
    if (to - from > 1) {
        uint16_t size = (uint16_t)first->iov_len;
        memcpy(CMSG_DATA(&o->controls[send].align), &size, sizeof size);
        header->msg_control = &o->controls[send];
        header->msg_controllen = CONTROL_BYTES;
    }
    return to - from;
}

int sc_outgoing_send(sc_outgoing *o, int fd, uint32_t from, int segmented)
{
    if (from >= o->count)
        return 0;
    uint32_t sends = 0;
    for (uint32_t at = from; at < o->count; sends++)
        at += add_run(o, sends, at, segmented);
    int left;
    do
        left = sendmmsg(fd, o->headers, sends, MSG_DONTWAIT);
    while (left < 0 && errno == EINTR);
    if (left < 0)
        return -errno;
    /* Runs are whole, and one behind the other: where the next would begin tells how many datagrams left. */
    if ((uint32_t)left == sends)
        return (int)(o->count - from);
    uint32_t at = from;
    while (o->vectors[at].iov_base != o->runs[left].iov_base)
        at++;
    return (int)(at - from);
}

int sc_udp_segments(int fd)
{
    int size;
    socklen_t length = sizeof size;
    return getsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, &length) == 0;
}

int sc_udp_segment_refused(int error)
{
    return error == EIO || error == EINVAL || error == EMSGSIZE || error == ENOPROTOOPT ||
           error == EOPNOTSUPP;
}

uint32_t sc_outgoing_count(const sc_outgoing *o)
{
    return o->count;
}

const uint8_t *sc_outgoing_datagram(const sc_outgoing *o, uint32_t index, uint32_t *length)
{
    if (index >= o->count)
        return NULL;
    *length = (uint32_t)o->vectors[index].iov_len;
    return o->vectors[index].iov_base;
}

uint32_t sc_pack_blocks(const sc_segment *s, uint64_t number, uint64_t last, uint8_t *out, uint32_t capacity,
                        uint32_t *length)
{
    *length = 0;
    uint64_t wanted = held(s, number, last);
    if (wanted == 0)
        return 0;
    uint64_t offset = sc_segment_locate(s, number);
    return pack(s, &offset, wanted, out, capacity, length);
}

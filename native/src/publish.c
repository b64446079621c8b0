#define _GNU_SOURCE
#include "publish.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bytes.h"

enum {
    MOLD_HEADER = 20,       /* MoldUDP64 1.00: session 10, sequence number 8, message count 2 */
    MOLD_COUNT_MAX = 65534, /* 65535 marks the end of the session */
    BLOCK_HEADER = 2,
    FRAME_HEADER = 3, /* SoupBinTCP: packet length 2, type 1 */
};

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
    uint8_t *slab;
    struct iovec *vectors;
    struct mmsghdr *headers;
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
    o->headers = calloc(datagrams, sizeof *o->headers);
    if (o->slab == NULL || o->vectors == NULL || o->headers == NULL) {
        sc_outgoing_free(o);
        return NULL;
    }
    for (uint32_t i = 0; i < datagrams; i++) {
        o->vectors[i].iov_base = o->slab + (size_t)i * datagram_bytes;
        o->headers[i].msg_hdr.msg_iov = &o->vectors[i];
        o->headers[i].msg_hdr.msg_iovlen = 1;
    }
    return o;
}

void sc_outgoing_free(sc_outgoing *o)
{
    if (o == NULL)
        return;
    free(o->slab);
    free(o->vectors);
    free(o->headers);
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
    while (wanted > 0 && o->count < o->capacity) {
        uint8_t *datagram = o->vectors[o->count].iov_base;
        uint32_t length;
        uint32_t packed =
            pack(s, &offset, wanted, datagram + MOLD_HEADER, o->datagram_bytes - MOLD_HEADER, &length);
        if (packed == 0)
            break;
        memcpy(datagram, o->session, sizeof o->session);
        sc_put_be64(datagram + 10, number);
        sc_put_be16(datagram + 18, (uint16_t)packed);
        o->vectors[o->count].iov_len = MOLD_HEADER + length;
        o->count++;
        number += packed;
        wanted -= packed;
    }
    o->segment_base = s->base;
    o->segment_first = s->first;
    o->next_number = number;
    o->next_offset = offset;
    return number;
}

int sc_outgoing_send(sc_outgoing *o, int fd, uint32_t from)
{
    if (from >= o->count)
        return 0;
    int sent;
    do
        sent = sendmmsg(fd, o->headers + from, o->count - from, MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
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

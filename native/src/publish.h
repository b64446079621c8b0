/* From the log to the wire: committed records packed into MoldUDP64 downstream packets and sent in batches.
 *
 * A record lies in its segment framed as a SoupBinTCP 'S' packet; on the multicast line the same bytes are a
 * message block. Only the two framing fields differ, so a packet is one copy of the record bytes. */
#ifndef SC_PUBLISH_H
#define SC_PUBLISH_H

#include <stdint.h>

#include "segment.h"

/* [cdef] */
typedef struct sc_outgoing sc_outgoing;

sc_outgoing *sc_outgoing_new(const uint8_t *session, uint32_t datagrams, uint32_t datagram_bytes);
void sc_outgoing_free(sc_outgoing *outgoing);
uint64_t sc_outgoing_fill(sc_outgoing *outgoing, const sc_segment *segment, uint64_t number, uint64_t last);
int sc_outgoing_send(sc_outgoing *outgoing, int fd, uint32_t from, int segmented);
int sc_udp_segments(int fd);
int sc_udp_segment_refused(int error);
uint32_t sc_outgoing_count(const sc_outgoing *outgoing);
const uint8_t *sc_outgoing_datagram(const sc_outgoing *outgoing, uint32_t index, uint32_t *length);
uint32_t sc_pack_blocks(const sc_segment *segment, uint64_t number, uint64_t last, uint8_t *out,
                        uint32_t capacity, uint32_t *length);
/* [/cdef] */

/* sc_outgoing_new: a batch of at most `datagrams` packets of at most `datagram_bytes` each (UDP payload,
 * header included). NULL when memory is short or datagram_bytes cannot hold one block. The caller frees it.
 *
 * sc_outgoing_fill: replaces the batch with packets of records number..last, whole records only, as many as
 * fit the batch. Stops at the end of the segment. Returns the number after the last packed record (`number`
 * itself when the segment does not hold it, or a single record is larger than a datagram).
 *
 * sc_outgoing_send: sends datagrams from..count-1 on the connected socket `fd` without blocking. Returns how
 * many left, which may be fewer than asked (the socket is full), or a negative errno when the first failed.
 * `segmented` lets datagrams of one length that follow each other pass through the kernel as one, which costs
 * hardly more than a single one; the kernel cuts them again (UDP_SEGMENT), so the wire is the same.
 *
 * sc_udp_segments: whether the kernel can do that for this socket. An interface may still refuse it, with an
 * errno for which sc_udp_segment_refused is true: send without it then.
 *
 * sc_outgoing_datagram: the bytes of one packet, for transports that are not sockets.
 *
 * sc_pack_blocks: message blocks of records number..last, whole records only, for a reply to a re-request.
 * Returns how many were packed; *length is their size in bytes. */

#endif

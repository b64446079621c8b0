/* The answers of the submit port: what became committed, told to each sender as the runs it consists of.
 *
 * A run is records of one sender at consecutive numbers with consecutive sender sequences. Its answer has the
 * sender sequence (8) and the stream number (8) of its last record, and how many they are (4), big-endian; it
 * is the payload of an unsequenced SoupBinTCP packet (docs/PROTOCOL.md). */
#ifndef SC_ANSWERS_H
#define SC_ANSWERS_H

#include <stdint.h>

#include "bytes.h"
#include "segment.h"
#include "senders.h"

/* [cdef] */
#define SC_ANSWER_BYTES 20
#define SC_ANSWER_PACKET_BYTES 23

typedef struct {
    uint64_t sequence; /* of the last record of the run ... */
    uint64_t number;   /* ... and its stream number */
    uint32_t count;
    uint32_t next; /* the next run of the same sender; its own index for the last */
} sc_run;

typedef struct {
    uint32_t capacity; /* of runs: room for as many in `runs`, `slots`, `heads`, `ends` and `packets` */
    uint32_t senders;  /* out: how many senders there is something for */
    uint32_t *slots;   /* out: who they are */
    uint32_t *ends; /* out: where in `packets` the answers of each end; they begin where the last one's end */
    uint8_t *packets; /* out: SC_ANSWER_PACKET_BYTES each */
    uint32_t *heads;  /* inside: first run of each sender */
    sc_run *runs;     /* inside */
    uint32_t *open;   /* inside: for each slot that there can be, its last run + 1; zero between calls */
} sc_answers;

uint64_t sc_answers_fill(sc_answers *answers, sc_senders *senders, const sc_segment *segment, uint64_t from,
                         uint64_t to);
/* [/cdef] */
/* sc_answers_fill: records from..to of the segment became committed: moves committed_sequence and
 * committed_number of the senders of its data records, and writes the answers. Returns the number of the next
 * record to look at: to + 1, or less when the segment does not hold it, or when there is no room for another
 * run; the caller then sends what there is and goes on from there. */

static inline void sc_answer_write(uint8_t *out, uint64_t sequence, uint64_t number, uint32_t count)
{
    sc_put_be64(out, sequence);
    sc_put_be64(out + 8, number);
    sc_put_be32(out + 16, count);
}

#endif

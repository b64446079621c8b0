/* One segment of the log: a preallocated, mapped file of records, each framed as a SoupBinTCP sequenced data
 * packet: length 2 (record + 1, big-endian), 'S', record. Length 0 marks the end of what was written.
 *
 * Nothing here opens, maps, syncs or grows a file, and nothing allocates: the owner of the mapping fills in
 * `base`, `capacity`, `first`, `end`, `index` and `index_capacity`. The 64 bytes of header before the first
 * frame are the owner's too (docs/LOG.md). */
#ifndef SC_SEGMENT_H
#define SC_SEGMENT_H

#include <stdint.h>

#include "message.h"
#include "record.h"

/* [cdef] */
#define SC_SEGMENT_HEADER_BYTES 64
#define SC_SEGMENT_STRIDE 64
#define SC_FRAME_BYTES 3

#define SC_SEGMENT_FULL -20
#define SC_SEGMENT_LONG -21

#define SC_STOP_NONE 0
#define SC_STOP_CONTROL 1
#define SC_STOP_FULL 2
#define SC_STOP_SENDERS 3
#define SC_STOP_EMPTY 4
#define SC_STOP_FRAME 5
#define SC_STOP_SHORT 6
#define SC_STOP_LONG 7
#define SC_STOP_CRC 8
#define SC_STOP_TIME 9

#define SC_SEARCH_NOTHING 0
#define SC_SEARCH_UNSURE -1

typedef struct {
    uint8_t *base;           /* the mapped file, header included */
    uint64_t capacity;       /* bytes of it, below 4 GiB */
    uint64_t first;          /* number of the first record */
    uint64_t count;          /* records held */
    uint64_t end;            /* offset of the next frame */
    uint64_t last_time;      /* stamp time of the last record of the log; 0 if there is none */
    uint32_t *index;         /* offset of the frame of every SC_SEGMENT_STRIDE-th record */
    uint32_t index_capacity; /* entries there can be */
    uint64_t ready;          /* pages below this offset were made ready; begins with 0 */
    int32_t file;            /* descriptor of the file, for making pages ready; 0 or less for none */
} sc_segment;

typedef struct sc_senders sc_senders;

uint64_t sc_segment_prepare(sc_segment *segment, uint64_t bytes);
int sc_segment_append(sc_segment *segment, const uint8_t *payload, uint32_t payload_length,
                      const sc_stamp *stamp);
uint32_t sc_segment_append_records(sc_segment *segment, sc_senders *senders, const uint8_t *base,
                                   const sc_message *rows, uint32_t count, int *stop);
uint64_t sc_segment_locate(const sc_segment *segment, uint64_t number);
uint32_t sc_segment_rows(const sc_segment *segment, uint64_t number, uint32_t count, uint64_t max_bytes,
                         sc_message *rows);
int sc_segment_scan(sc_segment *segment, sc_senders *senders, uint64_t limit);
int64_t sc_segment_search(const sc_segment *segment, uint64_t offset, uint64_t limit, uint64_t *number);
uint64_t sc_segment_clear(sc_segment *segment, uint64_t limit);
/* [/cdef] */

/* sc_segment_append: stamps a payload and appends it as number first + count. 0, SC_SEGMENT_FULL when there
 * is no room for it (nothing changed), SC_SEGMENT_LONG above SC_PAYLOAD_LIMIT. The caller promises that
 * stamp->time is not below last_time, and keeps the sender table. The length of the frame is written last, so
 * that a process that is killed here leaves a frame that is whole, or none.
 *
 * Pages of the file are made ready some way ahead of the appends, by writing zeros into the file: the kernel
 * then takes memory in large pieces, and fills it once. Taking pages one by one, as the mapping is touched,
 * costs twice as much, also with MADV_POPULATE_WRITE. In a virtual machine that has given its free memory
 * back nothing helps: each page costs a fault in the host, some ten microseconds.
 *
 * sc_segment_prepare: makes the next `bytes` bytes of pages ready, in whole pages, behind those that are;
 * returns the offset up to which all are: the capacity when there are no more. With 0 it only tells.
 *
 * sc_segment_append_records: a follower's append: rows are records that are stamped already. Each is checked
 * with the number that it would get, its time against last_time, and a data record's sender is noted (unless
 * `senders` is NULL). Returns how many were appended; *stop says why it ended: SC_STOP_NONE     all rows were
 * appended SC_STOP_CONTROL  the last one appended is a control record (epoch, end, admission): look at it,
 * and go on SC_STOP_FULL     the next row has no room in this segment SC_STOP_SENDERS  the sender table has
 * no room for the sender of the next row SC_STOP_SHORT    the next row is too short for a stamp SC_STOP_LONG
 * the next row is above SC_RECORD_LIMIT SC_STOP_CRC      the next row is damaged, or belongs to another
 * number SC_STOP_TIME     the time of the next row is below last_time
 *
 * sc_segment_locate: the offset of the frame of record `number`; `end` for first + count; 0 for any other
 * number. Walks at most SC_SEGMENT_STRIDE - 1 frames from an entry of the index.
 *
 * sc_segment_rows: the rows (number, offset and length of the record, without its frame) of records number
 * and following: at most `count`, and at most max_bytes of records except that the first is always given.
 * Returns how many; 0 when the segment does not hold `number`.
 *
 * sc_segment_scan: takes up records that lie behind `end` already, checking each as append_records does,
 * until `limit` records are held in all; count, end, last_time and index follow. Nothing is written to the
 * file. Returns the reason to stop; what is wrong is at offset `end` and would be number first + count:
 *   SC_STOP_NONE     `limit` records are held
 *   SC_STOP_CONTROL  as above: look at the last record, and call again
 *   SC_STOP_EMPTY    length 0, or the end of the file
 *   SC_STOP_FRAME    not a sequenced data packet, or longer than the file
 *   SC_STOP_SENDERS, SC_STOP_SHORT, SC_STOP_LONG, SC_STOP_CRC, SC_STOP_TIME  as above
 *
 * sc_segment_search: is there a whole record behind a bad place? Looks at every offset from `offset` to
 * `limit` for a frame whose CRC fits a number above first + count, the number of the record that is bad, and
 * near enough that the records between could lie in the bytes between. Returns the frame's offset and sets
 * *number; SC_SEARCH_NOTHING; or SC_SEARCH_UNSURE when so much looks like a record that the work, which is
 * linear in the size of the segment, was given up. It tells a torn tail (nothing follows) from damage in the
 * middle.
 *
 * sc_segment_clear: zeroes what lies between `end` and `limit`, from the back to the front, so that a process
 * that is killed in the middle leaves a shorter log and not a hole. Touches no page that is zero already.
 * Returns how many bytes lay between `end` and the last byte that was not zero. */

#endif

#define _DEFAULT_SOURCE
#include "segment.h"

#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"
#include "senders.h"

enum {
    FRAME_TYPE = 'S', /* SoupBinTCP: sequenced data packet */
    PAGE_BYTES = 4096,
    /* Made ready at once: some tens of microseconds, so that no turn waits long for them. */
    READY_BYTES = 256 * 1024,
    /* Bytes under CRC for each byte searched. Real damage needs less than one: a record's stamp has to look
     * right before its CRC is computed, and stamps in random bytes are one in many millions. */
    SEARCH_WORK = 16,
    SMALLEST_FRAME = SC_FRAME_BYTES + SC_STAMP_BYTES,
};

static uint32_t record_length(const uint8_t *frame)
{
    return (uint32_t)sc_get_be16(frame) - 1;
}

static int is_control(const sc_stamp *stamp)
{
    return stamp->kind >= SC_KIND_EPOCH && stamp->kind <= SC_KIND_ADMIT;
}

/* Counts in the record whose frame begins at `end`: the index, the count, the end and the time follow. */
static void take_up(sc_segment *s, uint32_t length, uint64_t time)
{
    if (s->count % SC_SEGMENT_STRIDE == 0)
        s->index[s->count / SC_SEGMENT_STRIDE] = (uint32_t)s->end;
    s->end += SC_FRAME_BYTES + length;
    s->count++;
    s->last_time = time;
}

static int has_room(const sc_segment *s, uint32_t length)
{
    return s->end <= s->capacity && s->capacity - s->end >= SC_FRAME_BYTES + (uint64_t)length &&
           s->count / SC_SEGMENT_STRIDE < s->index_capacity;
}

/* Where the pages that are not ready yet begin. */
static uint64_t ready_end(const sc_segment *s)
{
    return s->ready > s->end ? s->ready : s->end;
}

/* Writes zeros into the whole pages up to `to`, which may lie behind the end of the room. The page that
 * `end` lies in has been touched already, and may hold records. */
static void populate(sc_segment *s, uint64_t to)
{
    static uint8_t zeros[READY_BYTES];
    uint64_t from = (ready_end(s) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    s->ready = to;
    if (to > s->capacity)
        to = s->capacity;
    while (s->file > 0 && from < to) {
        ssize_t written =
            pwrite(s->file, zeros, to - from < READY_BYTES ? to - from : READY_BYTES, (off_t)from);
        if (written <= 0) /* then they are touched as they come */
            break;
        from += (uint64_t)written;
    }
}

/* Makes the pages ready that an append to `upto`, and those after it, will write. */
static void make_ready(sc_segment *s, uint64_t upto)
{
    if (upto > s->ready)
        populate(s, (upto + READY_BYTES) / PAGE_BYTES * PAGE_BYTES);
}

uint64_t sc_segment_prepare(sc_segment *s, uint64_t bytes)
{
    uint64_t from = ready_end(s);
    if (from >= s->capacity)
        return s->capacity;
    if (bytes == 0)
        return from;
    populate(s, s->capacity - from > bytes ? (from + bytes) / PAGE_BYTES * PAGE_BYTES : s->capacity);
    return ready_end(s);
}

/* Frames the record that lies behind `end` already. The length goes last: until it is there, the frame is
 * not. */
static void frame(uint8_t *out, uint32_t length)
{
    uint16_t framed = __builtin_bswap16((uint16_t)(length + 1));
    out[2] = FRAME_TYPE;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memcpy(out, &framed, sizeof framed); /* one store */
}

int sc_segment_append(sc_segment *s, const uint8_t *payload, uint32_t payload_length, const sc_stamp *stamp)
{
    if (payload_length > SC_PAYLOAD_LIMIT)
        return SC_SEGMENT_LONG;
    uint32_t length = payload_length + SC_STAMP_BYTES;
    if (!has_room(s, length))
        return SC_SEGMENT_FULL;
    make_ready(s, s->end + SC_FRAME_BYTES + length);
    uint8_t *out = s->base + s->end;
    if (payload_length > 0)
        memcpy(out + SC_FRAME_BYTES, payload, payload_length);
    sc_record_stamp(out + SC_FRAME_BYTES, payload_length, s->first + s->count, stamp);
    frame(out, length);
    take_up(s, length, stamp->time);
    return 0;
}

/* Checks a record against the number that it would get; SC_STOP_NONE when it may be taken up. */
static int examine(const sc_segment *s, sc_senders *senders, const uint8_t *record, uint32_t length,
                   sc_stamp *stamp)
{
    if (length > SC_RECORD_LIMIT)
        return SC_STOP_LONG;
    int code = sc_record_check(record, length, s->first + s->count);
    if (code != 0)
        return code == SC_RECORD_SHORT ? SC_STOP_SHORT : SC_STOP_CRC;
    sc_record_read(record, length, stamp);
    if (stamp->time < s->last_time)
        return SC_STOP_TIME;
    if (senders != NULL && stamp->kind == SC_KIND_DATA && sc_senders_add(senders, stamp->sender) < 0)
        return SC_STOP_SENDERS;
    return SC_STOP_NONE;
}

static void note(const sc_segment *s, sc_senders *senders, const sc_stamp *stamp)
{
    if (senders != NULL && stamp->kind == SC_KIND_DATA)
        sc_senders_note(senders, stamp->sender, stamp->sender_sequence, s->first + s->count - 1);
}

uint32_t sc_segment_append_records(sc_segment *s, sc_senders *senders, const uint8_t *base,
                                   const sc_message *rows, uint32_t count, int *stop)
{
    *stop = SC_STOP_NONE;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *record = base + rows[i].offset;
        uint32_t length = rows[i].length;
        sc_stamp stamp;
        if (length <= SC_RECORD_LIMIT && !has_room(s, length))
            *stop = SC_STOP_FULL;
        else
            *stop = examine(s, senders, record, length, &stamp);
        if (*stop != SC_STOP_NONE)
            return i;
        make_ready(s, s->end + SC_FRAME_BYTES + length);
        uint8_t *out = s->base + s->end;
        memcpy(out + SC_FRAME_BYTES, record, length);
        frame(out, length);
        take_up(s, length, stamp.time);
        note(s, senders, &stamp);
        if (is_control(&stamp)) {
            *stop = SC_STOP_CONTROL;
            return i + 1;
        }
    }
    return count;
}

uint64_t sc_segment_locate(const sc_segment *s, uint64_t number)
{
    if (number < s->first || number - s->first > s->count)
        return 0;
    uint64_t position = number - s->first;
    if (position == s->count)
        return s->end;
    uint64_t offset = s->index[position / SC_SEGMENT_STRIDE];
    for (uint64_t left = position % SC_SEGMENT_STRIDE; left > 0; left--) {
        if (offset >= s->end || s->end - offset < SMALLEST_FRAME)
            return 0; /* the mapping has changed under us: never walk out of it */
        offset += SC_FRAME_BYTES + record_length(s->base + offset);
    }
    return offset;
}

uint32_t sc_segment_rows(const sc_segment *s, uint64_t number, uint32_t count, uint64_t max_bytes,
                         sc_message *rows)
{
    uint64_t offset = sc_segment_locate(s, number);
    if (offset == 0)
        return 0;
    uint64_t held = s->first + s->count - number, bytes = 0;
    uint32_t i = 0;
    for (; i < count && i < held; i++) {
        if (offset >= s->end || s->end - offset < SMALLEST_FRAME)
            break;
        uint32_t length = record_length(s->base + offset);
        if (length < SC_STAMP_BYTES || s->end - offset - SC_FRAME_BYTES < length)
            break;
        bytes += length;
        if (i > 0 && bytes > max_bytes)
            break;
        rows[i].number = number + i;
        rows[i].offset = (uint32_t)(offset + SC_FRAME_BYTES);
        rows[i].length = length;
        offset += SC_FRAME_BYTES + length;
    }
    return i;
}

int sc_segment_scan(sc_segment *s, sc_senders *senders, uint64_t limit)
{
    while (s->count < limit) {
        if (s->end >= s->capacity || s->capacity - s->end < SC_FRAME_BYTES)
            return SC_STOP_EMPTY;
        const uint8_t *at = s->base + s->end;
        uint32_t framed = sc_get_be16(at);
        if (framed == 0)
            return SC_STOP_EMPTY;
        uint32_t length = framed - 1;
        if (at[2] != FRAME_TYPE || s->capacity - s->end - SC_FRAME_BYTES < length ||
            s->count / SC_SEGMENT_STRIDE >= s->index_capacity)
            return SC_STOP_FRAME;
        sc_stamp stamp;
        int code = examine(s, senders, at + SC_FRAME_BYTES, length, &stamp);
        if (code != SC_STOP_NONE)
            return code;
        take_up(s, length, stamp.time);
        note(s, senders, &stamp);
        if (is_control(&stamp))
            return SC_STOP_CONTROL;
    }
    return SC_STOP_NONE;
}

/* Which stream number fits the CRC of a record, if its high half is `high`? There is exactly one, because the
 * CRC over the four low bytes is a bijection: so the CRC is run back from the one that is stored to the state
 * behind the number, and the low half is read off. */
static uint64_t number_of(const uint8_t *record, uint32_t length, uint32_t high)
{
    static const uint8_t zeros[4];
    uint8_t bytes[4];
    uint32_t covered = length - 4;
    uint32_t after = sc_crc32c_back(sc_get_be32(record + covered), record, covered);
    sc_put_be32(bytes, high);
    uint32_t low = sc_crc32c_back(after, zeros, sizeof zeros) ^ sc_crc32c(0, bytes, sizeof bytes);
    return (uint64_t)high << 32 | __builtin_bswap32(low);
}

/* Whether the bytes behind a frame's header could be a stamp that the log would take next. */
static int looks_right(const uint8_t *record, uint32_t length, uint64_t last_time)
{
    enum { LAPSE = 1 }; /* in units of 2^56 ns, some 2.3 years: longer than any session */
    sc_stamp stamp;
    sc_record_read(record, length, &stamp);
    if (stamp.kind > SC_KIND_ADMIT || stamp.flags > (SC_FLAG_FIRST | SC_FLAG_LAST))
        return 0;
    if (stamp.time < last_time || (last_time > 0 && (stamp.time - last_time) >> 56 >= LAPSE))
        return 0;
    for (int i = 0; i < SC_SENDER_BYTES; i++)
        if (stamp.sender[i] < 0x20 || stamp.sender[i] > 0x7E)
            return 0;
    return 1;
}

int64_t sc_segment_search(const sc_segment *s, uint64_t offset, uint64_t limit, uint64_t *number)
{
    uint64_t bad = s->first + s->count;
    if (offset < s->end)
        offset = s->end;
    if (limit > s->capacity)
        limit = s->capacity;
    if (limit < SMALLEST_FRAME || offset > limit - SMALLEST_FRAME)
        return SC_SEARCH_NOTHING;
    uint64_t work = SEARCH_WORK * (limit - offset) + SC_RECORD_LIMIT;
    const uint8_t *p = s->base + offset;
    const uint8_t *stop = s->base + (limit - SMALLEST_FRAME) + 1;
    for (; p < stop; p++) {
        p = memchr(p + 2, FRAME_TYPE, (size_t)(stop - p));
        if (p == NULL)
            return SC_SEARCH_NOTHING;
        p -= 2;
        uint32_t framed = sc_get_be16(p), length = framed - 1;
        if (framed <= SC_STAMP_BYTES || length > SC_RECORD_LIMIT ||
            (uint64_t)(s->base + limit - p) - SC_FRAME_BYTES < length)
            continue;
        const uint8_t *record = p + SC_FRAME_BYTES;
        if (!looks_right(record, length, s->last_time))
            continue;
        if (work < length)
            return SC_SEARCH_UNSURE;
        work -= length;
        uint64_t at = (uint64_t)(p - s->base);
        uint64_t furthest = bad + 1 + (at - s->end) / SMALLEST_FRAME;
        uint32_t high = (uint32_t)(bad >> 32);
        uint64_t found = number_of(record, length, high);
        if (found <= bad && furthest >> 32 != high)
            found = number_of(record, length, high + 1);
        if (found > bad && found <= furthest) {
            *number = found;
            return (int64_t)at;
        }
    }
    return SC_SEARCH_NOTHING;
}

static int all_zero(const uint8_t *p, uint64_t length)
{
    return length == 0 || (p[0] == 0 && !memcmp(p, p + 1, length - 1));
}

uint64_t sc_segment_clear(sc_segment *s, uint64_t limit)
{
    uint64_t written = 0;
    uint64_t top = limit < s->capacity ? limit : s->capacity;
    while (top > s->end) {
        uint64_t bottom = (top - 1) / PAGE_BYTES * PAGE_BYTES;
        if (bottom < s->end)
            bottom = s->end;
        uint8_t *block = s->base + bottom;
        if (!all_zero(block, top - bottom)) {
            if (written == 0) {
                uint64_t last = top;
                while (s->base[last - 1] == 0)
                    last--;
                written = last - s->end;
            }
            memset(block, 0, top - bottom);
            __atomic_thread_fence(__ATOMIC_RELEASE); /* the next block is further to the front */
        }
        top = bottom;
    }
    return written;
}

#include "feed.h"

#include <string.h>

#include "bytes.h"

static void sc_feed_row(sc_message *row, uint32_t offset, uint32_t length)
{
    row->number = 0;
    row->offset = offset;
    row->length = length;
}

uint32_t sc_feed_binaryfile(const uint8_t *data, uint32_t length, uint32_t limit, sc_message *rows,
                            uint32_t capacity, uint32_t *consumed, int32_t *stop)
{
    uint32_t position = 0;
    uint32_t count = 0;

    *stop = SC_FEED_FULL;
    while (count < capacity) {
        if (length - position < SC_FEED_HEADER_BYTES) {
            *stop = SC_FEED_MORE;
            break;
        }
        uint32_t size = sc_get_be16(data + position);
        if (size == 0) {
            position += SC_FEED_HEADER_BYTES;
            *stop = SC_FEED_END;
            break;
        }
        if (size > limit) {
            *stop = SC_FEED_LONG;
            break;
        }
        if (length - position - SC_FEED_HEADER_BYTES < size) {
            *stop = SC_FEED_MORE;
            break;
        }
        sc_feed_row(&rows[count++], position + SC_FEED_HEADER_BYTES, size);
        position += SC_FEED_HEADER_BYTES + size;
    }
    *consumed = position;
    return count;
}

uint32_t sc_feed_lines(const uint8_t *data, uint32_t length, int32_t final, uint32_t limit, sc_message *rows,
                       uint32_t capacity, uint32_t *consumed, int32_t *stop)
{
    uint32_t position = 0;
    uint32_t count = 0;

    *stop = SC_FEED_FULL;
    while (count < capacity) {
        uint32_t left = length - position;
        if (left == 0) {
            *stop = SC_FEED_MORE;
            break;
        }
        const uint8_t *end = memchr(data + position, '\n', left);
        uint32_t size = end ? (uint32_t)(end - (data + position)) : left;
        if (size > limit) {
            *stop = SC_FEED_LONG;
            break;
        }
        if (!end && !final) {
            *stop = SC_FEED_MORE;
            break;
        }
        sc_feed_row(&rows[count++], position, size);
        position += end ? size + 1 : size;
    }
    *consumed = position;
    return count;
}

/* What a packing call that stopped at a row the format cannot carry returns. */
static int64_t sc_feed_refused(uint32_t packed, uint32_t position, int64_t reason)
{
    return packed == 0 ? reason : (int64_t)position;
}

int64_t sc_feed_pack_binaryfile(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                                uint32_t capacity, uint32_t *packed)
{
    uint32_t position = 0;

    for (*packed = 0; *packed < count; ++*packed) {
        const sc_message *row = &rows[*packed];
        if (row->length == 0)
            return sc_feed_refused(*packed, position, SC_FEED_EMPTY);
        if (row->length > SC_FEED_BINARYFILE_LIMIT)
            return sc_feed_refused(*packed, position, SC_FEED_OVERLONG);
        if (capacity - position < SC_FEED_HEADER_BYTES + row->length)
            break;
        sc_put_be16(out + position, (uint16_t)row->length);
        memcpy(out + position + SC_FEED_HEADER_BYTES, base + row->offset, row->length);
        position += SC_FEED_HEADER_BYTES + row->length;
    }
    return position;
}

int64_t sc_feed_pack_lines(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                           uint32_t capacity, uint32_t *packed)
{
    uint32_t position = 0;

    for (*packed = 0; *packed < count; ++*packed) {
        const sc_message *row = &rows[*packed];
        if (row->length > 0 && memchr(base + row->offset, '\n', row->length))
            return sc_feed_refused(*packed, position, SC_FEED_LINE_FEED);
        if (capacity - position <= row->length)
            break;
        if (row->length > 0)
            memcpy(out + position, base + row->offset, row->length);
        position += row->length;
        out[position++] = '\n';
    }
    return position;
}

int64_t sc_feed_pack_hex(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                         uint32_t capacity, uint32_t *packed)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t position = 0;

    for (*packed = 0; *packed < count; ++*packed) {
        const sc_message *row = &rows[*packed];
        if (capacity - position <= 2 * (uint64_t)row->length)
            break;
        for (uint32_t i = 0; i < row->length; i++) {
            uint8_t byte = base[row->offset + i];
            out[position++] = (uint8_t)digits[byte >> 4];
            out[position++] = (uint8_t)digits[byte & 15];
        }
        out[position++] = '\n';
    }
    return position;
}

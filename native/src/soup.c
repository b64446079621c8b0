#include "soup.h"

#include <string.h>

#include "bytes.h"

/* The LF of the packet at `packet`, which has its type and at least one byte more; NULL when it is not there,
 * or further away than a payload may reach. */
static const uint8_t *find_line_feed(const uint8_t *packet, uint64_t length)
{
    uint64_t reach = length - 1;

    if (reach > SC_SOUP_PAYLOAD_LIMIT + 1)
        reach = SC_SOUP_PAYLOAD_LIMIT + 1;
    return memchr(packet + 1, '\n', reach);
}

_Static_assert(SC_SOUP_HEADER_BYTES == SC_SOUP_LENGTH_BYTES + 1,
               "the type is the first byte that is counted");
_Static_assert(SC_SOUP_PAYLOAD_LIMIT == UINT16_MAX - 1, "the length field counts the type byte too");

uint32_t sc_soup_run(const uint8_t *data, uint32_t length, uint8_t type, uint64_t first_number,
                     sc_message *rows, uint32_t capacity, uint32_t *consumed)
{
    uint32_t position = 0;
    uint32_t count = 0;

    while (count < capacity && length - position >= SC_SOUP_HEADER_BYTES) {
        const uint8_t *packet = data + position;
        uint32_t counted = sc_get_be16(packet);

        if (counted == 0 || packet[SC_SOUP_LENGTH_BYTES] != type ||
            length - position - SC_SOUP_LENGTH_BYTES < counted)
            break;
        rows[count].number = first_number + count;
        rows[count].offset = position + SC_SOUP_HEADER_BYTES;
        rows[count].length = counted - 1;
        count++;
        position += SC_SOUP_LENGTH_BYTES + counted;
    }
    *consumed = position;
    return count;
}

uint32_t sc_soup_line_run(const uint8_t *data, uint32_t length, uint8_t type, uint64_t first_number,
                          int32_t stop_at_empty, sc_message *rows, uint32_t capacity, uint32_t *consumed)
{
    uint32_t position = 0;
    uint32_t count = 0;

    if (type == '\n') /* no type is an LF: a line that starts with one is a packet without a type */
        capacity = 0;
    while (count < capacity && length - position >= SC_SOUP_LINE_OVERHEAD && data[position] == type) {
        const uint8_t *payload = data + position + 1;
        const uint8_t *end = find_line_feed(data + position, length - position);

        if (end == NULL || (end == payload && stop_at_empty))
            break;
        rows[count].number = first_number + count;
        rows[count].offset = position + 1;
        rows[count].length = (uint32_t)(end - payload);
        position += rows[count].length + SC_SOUP_LINE_OVERHEAD;
        count++;
    }
    *consumed = position;
    return count;
}

int64_t sc_soup_pack(uint8_t type, const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                     uint32_t capacity, uint32_t *packed)
{
    uint32_t position = 0;
    uint32_t taken = 0;

    *packed = 0;
    for (; taken < count; taken++) {
        uint32_t length = rows[taken].length;

        if (length > SC_SOUP_PAYLOAD_LIMIT) {
            if (taken == 0)
                return SC_SOUP_OVERLONG;
            break;
        }
        if (capacity - position < length + SC_SOUP_HEADER_BYTES)
            break;
        sc_put_be16(out + position, (uint16_t)(length + 1));
        out[position + SC_SOUP_LENGTH_BYTES] = type;
        memcpy(out + position + SC_SOUP_HEADER_BYTES, base + rows[taken].offset, length);
        position += length + SC_SOUP_HEADER_BYTES;
    }
    *packed = taken;
    return position;
}

int64_t sc_soup_line_pack(uint8_t type, const uint8_t *base, const sc_message *rows, uint32_t count,
                          uint8_t *out, uint32_t capacity, uint32_t *packed)
{
    uint32_t position = 0;
    uint32_t taken = 0;

    *packed = 0;
    for (; taken < count; taken++) {
        const uint8_t *payload = base + rows[taken].offset;
        uint32_t length = rows[taken].length;
        int32_t refusal = 0;

        if (length > SC_SOUP_PAYLOAD_LIMIT)
            refusal = SC_SOUP_OVERLONG;
        else if (memchr(payload, '\n', length) != NULL)
            refusal = SC_SOUP_LINE_FEED;
        if (refusal != 0) {
            if (taken == 0)
                return refusal;
            break;
        }
        if (capacity - position < length + SC_SOUP_LINE_OVERHEAD)
            break;
        out[position] = type;
        memcpy(out + position + 1, payload, length);
        out[position + 1 + length] = '\n';
        position += length + SC_SOUP_LINE_OVERHEAD;
    }
    *packed = taken;
    return position;
}

uint64_t sc_soup_packed_bytes(const sc_message *rows, uint32_t count, uint32_t overhead)
{
    uint64_t bytes = (uint64_t)count * overhead;

    for (uint32_t i = 0; i < count; i++)
        bytes += rows[i].length;
    return bytes;
}

uint64_t sc_soup_skip(const uint8_t *data, uint64_t length, uint64_t count)
{
    uint64_t position = 0;

    for (; count > 0 && length - position >= SC_SOUP_HEADER_BYTES; count--) {
        uint32_t counted = sc_get_be16(data + position);

        if (counted == 0 || length - position - SC_SOUP_LENGTH_BYTES < counted)
            break;
        position += SC_SOUP_LENGTH_BYTES + counted;
    }
    return position;
}

uint64_t sc_soup_line_skip(const uint8_t *data, uint64_t length, uint64_t count)
{
    uint64_t position = 0;

    for (; count > 0 && length - position >= SC_SOUP_LINE_OVERHEAD && data[position] != '\n'; count--) {
        const uint8_t *end = find_line_feed(data + position, length - position);

        if (end == NULL)
            break;
        position = (uint64_t)(end - data) + 1;
    }
    return position;
}

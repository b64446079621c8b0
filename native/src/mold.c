#include "mold.h"

int32_t sc_mold_walk(int32_t protocol, const uint8_t *data, uint32_t length, sc_mold_header *header)
{
    uint32_t position = sc_mold_header_bytes(protocol);
    uint32_t messages = header->blocks;
    for (uint32_t i = 0; i < header->blocks; i++) {
        if (length - position < SC_MOLD_BLOCK_BYTES)
            return SC_MOLD_OVERRUN;
        uint32_t message = sc_mold_block_length(protocol, data + position);
        position += SC_MOLD_BLOCK_BYTES;
        if (length - position < message)
            return SC_MOLD_OVERRUN;
        position += message;
        if (message == 0 && protocol == SC_MOLDUDP && !header->ends) {
            header->ends = 1;
            messages = i;
        }
    }
    return (int32_t)messages;
}

int32_t sc_mold_decode(int32_t protocol, const uint8_t *data, uint32_t length, sc_mold_header *header,
                       sc_message *rows, uint32_t capacity)
{
    int32_t code = sc_mold_read_header(protocol, data, length, header);
    if (code < 0)
        return code;
    int32_t messages = sc_mold_walk(protocol, data, length, header);
    uint32_t position = sc_mold_header_bytes(protocol);
    for (uint32_t i = 0; i < capacity && (int32_t)i < messages; i++) {
        uint32_t message = sc_mold_block_length(protocol, data + position);
        position += SC_MOLD_BLOCK_BYTES;
        rows[i] = (sc_message){header->number + i, position, message};
        position += message;
    }
    return messages;
}

/* 0, or why this message cannot be carried under this number. */
static int32_t refusal(int32_t protocol, uint64_t number, uint32_t message)
{
    if (number == 0 || number > sc_mold_number_max(protocol))
        return SC_MOLD_NUMBER;
    if (message > SC_MOLD_MESSAGE_MAX)
        return SC_MOLD_LONG;
    if (message == 0 && protocol == SC_MOLDUDP)
        return SC_MOLD_EMPTY;
    return 0;
}

int32_t sc_mold_pack(int32_t protocol, const uint8_t *session, uint64_t number, const uint8_t *base,
                     const sc_message *rows, uint32_t count, uint8_t *out, uint32_t capacity,
                     uint32_t *packed)
{
    uint32_t header = sc_mold_header_bytes(protocol);
    uint32_t count_max = protocol == SC_MOLDUDP64 ? SC_MOLDUDP64_COUNT_MAX : SC_MOLDUDP_COUNT_MAX;
    *packed = 0;
    if (count == 0)
        return 0;
    int32_t code = refusal(protocol, number, rows[0].length);
    if (code < 0)
        return code;
    if (capacity > INT32_MAX)
        capacity = INT32_MAX; /* the result is signed; no datagram comes near */
    if (capacity < header)
        return 0;
    uint32_t used = header, taken = 0;
    while (taken < count && taken < count_max) {
        uint32_t message = rows[taken].length;
        if (refusal(protocol, number + taken, message) < 0)
            break;
        if (capacity - used < SC_MOLD_BLOCK_BYTES + message)
            break;
        if (protocol == SC_MOLDUDP64)
            sc_put_be16(out + used, (uint16_t)message);
        else
            sc_put_le16(out + used, (uint16_t)message);
        memcpy(out + used + SC_MOLD_BLOCK_BYTES, base + rows[taken].offset, message);
        used += SC_MOLD_BLOCK_BYTES + message;
        taken++;
    }
    if (taken == 0)
        return 0;
    memcpy(out, session, SC_MOLD_SESSION_BYTES);
    if (protocol == SC_MOLDUDP64) {
        sc_put_be64(out + 10, number);
        sc_put_be16(out + 18, (uint16_t)taken);
    } else {
        sc_put_le32(out + 10, (uint32_t)number);
        sc_put_le16(out + 14, (uint16_t)taken);
    }
    *packed = taken;
    return (int32_t)used;
}

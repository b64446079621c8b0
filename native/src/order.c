#include "order.h"

#include "bytes.h"
#include "record.h"

void sc_order(sc_segment *tail, sc_senders *senders, uint32_t slot, uint64_t time, uint32_t payload_limit,
              const uint8_t *base, const sc_message *rows, uint32_t count, sc_order_result *result)
{
    sc_sender *sender = &senders->rows[slot];
    sc_stamp stamp = {.time = time, .kind = SC_KIND_DATA};
    memcpy(stamp.sender, sender->sender, sizeof stamp.sender);

    uint32_t row = 0, duplicates = 0;
    int32_t stop = SC_ORDER_ALL;
    for (; row < count; row++) {
        if (rows[row].length < SC_SUBMIT_HEADER_BYTES) {
            stop = SC_ORDER_SHORT;
            break;
        }
        const uint8_t *packet = base + rows[row].offset;
        uint32_t payload_length = rows[row].length - SC_SUBMIT_HEADER_BYTES;
        uint64_t sequence = sc_get_be64(packet);
        uint8_t flags = packet[8];
        if (sequence == 0) {
            stop = SC_ORDER_ZERO;
            break;
        }
        if (sequence <= sender->sequence) {
            duplicates++;
            continue;
        }
        if (sequence - sender->sequence != 1) {
            stop = SC_ORDER_HOLE;
            break;
        }
        if (flags & (uint8_t)~(SC_FLAG_FIRST | SC_FLAG_LAST)) {
            stop = SC_ORDER_FLAGS;
            break;
        }
        if (payload_length > payload_limit) {
            stop = SC_ORDER_LONG;
            break;
        }
        stamp.sender_sequence = sequence;
        stamp.flags = flags;
        if (sc_segment_append(tail, packet + SC_SUBMIT_HEADER_BYTES, payload_length, &stamp) != 0) {
            stop = SC_ORDER_FULL;
            break;
        }
        sender->sequence = sequence;
        sender->number = tail->first + tail->count - 1;
    }
    result->taken = row;
    result->duplicates = duplicates;
    result->stamped = row - duplicates;
    result->stop = stop;
}

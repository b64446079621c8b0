#include "delivery.h"

#include <string.h>

uint32_t sc_delivery_check(const uint8_t *base, const sc_message *rows, uint32_t count)
{
    uint32_t i = 0;
    while (i < count && sc_record_check(base + rows[i].offset, rows[i].length, rows[i].number) == 0)
        i++;
    return i;
}

uint32_t sc_delivery_run(const uint8_t *base, const sc_message *rows, uint32_t count, sc_message *payloads,
                         sc_stamp *stamps)
{
    uint32_t i = 0;
    for (; i < count; i++) {
        if (rows[i].length < SC_STAMP_BYTES)
            break;
        sc_record_read(base + rows[i].offset, rows[i].length, &stamps[i]);
        if (stamps[i].kind != SC_KIND_DATA || stamps[i].flags != (SC_FLAG_FIRST | SC_FLAG_LAST))
            break;
        payloads[i] = rows[i];
        payloads[i].length = rows[i].length - SC_STAMP_BYTES;
    }
    return i;
}

void sc_delivery_copy(const uint8_t *base, const sc_message *rows, uint32_t count, uint8_t *out,
                      sc_message *out_rows)
{
    uint32_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        out_rows[i] = (sc_message){.number = rows[i].number, .offset = offset, .length = rows[i].length};
        if (rows[i].length != 0)
            memcpy(out + offset, base + rows[i].offset, rows[i].length);
        offset += rows[i].length;
    }
}

#include "record.h"

#include "bytes.h"
#include "crc32c.h"

enum { /* offsets in the stamp */
       KIND = 0,
       FLAGS = 1,
       SENDER = 2,
       SEQUENCE = 8,
       TIME = 16,
       CRC = 24,
};

static uint32_t record_crc(const uint8_t *record, uint32_t covered, uint64_t number)
{
    uint8_t head[8];
    sc_put_be64(head, number);
    return sc_crc32c(sc_crc32c(0, head, sizeof head), record, covered);
}

void sc_record_stamp(uint8_t *payload, uint32_t payload_length, uint64_t number, const sc_stamp *stamp)
{
    uint8_t *out = payload + payload_length;
    out[KIND] = stamp->kind;
    out[FLAGS] = stamp->flags;
    memcpy(out + SENDER, stamp->sender, SC_SENDER_BYTES);
    sc_put_be64(out + SEQUENCE, stamp->sender_sequence);
    sc_put_be64(out + TIME, stamp->time);
    sc_put_be32(out + CRC, record_crc(payload, payload_length + CRC, number));
}

int sc_record_check(const uint8_t *record, uint32_t length, uint64_t number)
{
    if (length < SC_STAMP_BYTES)
        return SC_RECORD_SHORT;
    uint32_t covered = length - (SC_STAMP_BYTES - CRC);
    return sc_get_be32(record + covered) == record_crc(record, covered, number) ? 0 : SC_RECORD_CRC;
}

void sc_record_read(const uint8_t *record, uint32_t length, sc_stamp *stamp)
{
    const uint8_t *in = record + length - SC_STAMP_BYTES;
    stamp->kind = in[KIND];
    stamp->flags = in[FLAGS];
    memcpy(stamp->sender, in + SENDER, SC_SENDER_BYTES);
    stamp->sender_sequence = sc_get_be64(in + SEQUENCE);
    stamp->time = sc_get_be64(in + TIME);
}

uint32_t sc_records_read(const uint8_t *base, const sc_message *rows, uint32_t count, sc_stamp *stamps)
{
    uint32_t i = 0;
    for (; i < count && rows[i].length >= SC_STAMP_BYTES; i++)
        sc_record_read(base + rows[i].offset, rows[i].length, &stamps[i]);
    return i;
}

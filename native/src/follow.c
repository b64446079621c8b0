#include "follow.h"

#include "bytes.h"
#include "soup.h"

enum {
    ROWS = 64, /* records appended at once */
    SEQUENCED = 'S',
    UNSEQUENCED = 'U',
    COMMIT = 'C',
    COMMIT_PACKET_BYTES = SC_SOUP_HEADER_BYTES + SC_COMMIT_BYTES,
};

/* Whether a whole packet at the start of `data` tells the commit number of `epoch`. */
static int tells_commit(const uint8_t *data, uint32_t length, uint64_t epoch)
{
    return length >= COMMIT_PACKET_BYTES && sc_get_be16(data) == SC_COMMIT_BYTES + 1 &&
           data[SC_SOUP_LENGTH_BYTES] == UNSEQUENCED && data[SC_SOUP_HEADER_BYTES] == COMMIT &&
           sc_get_be64(data + SC_SOUP_HEADER_BYTES + 1) == epoch;
}

int32_t sc_follow(sc_segment *segment, sc_senders *senders, const uint8_t *data, uint32_t length,
                  uint64_t epoch, sc_following *following)
{
    sc_message rows[ROWS];
    uint32_t position = 0;
    int stop = SC_STOP_NONE;

    following->records = 0;
    while (stop == SC_STOP_NONE) {
        uint32_t run;
        uint32_t count = sc_soup_run(data + position, length - position, SEQUENCED, 0, rows, ROWS, &run);

        if (count > 0) {
            uint32_t taken = sc_segment_append_records(segment, senders, data + position, rows, count, &stop);

            following->records += taken;
            position += taken < count ? rows[taken].offset - SC_SOUP_HEADER_BYTES : run;
        } else if (tells_commit(data + position, length - position, epoch)) {
            uint64_t number = sc_get_be64(data + position + COMMIT_PACKET_BYTES - sizeof number);

            if (number > following->commit)
                following->commit = number;
            position += COMMIT_PACKET_BYTES;
        } else {
            break;
        }
    }
    following->consumed = position;
    return stop;
}

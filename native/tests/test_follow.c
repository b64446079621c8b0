/* What a follower takes in one call: records and commit numbers, up to whatever is anything else. */
#include "bytes.h"
#include "follow.h"
#include "segment_fixture.h"
#include "soup.h"

enum { EPOCH = 7, FIRST = 100 };

static uint8_t stream[1 << 16];
static uint32_t length;

/* Puts records first..last of a log into the stream, as they lie there. */
static void send_records(const fixture *f, uint64_t first, uint64_t last)
{
    uint64_t from = sc_segment_locate(&f->segment, first), to = sc_segment_locate(&f->segment, last + 1);
    memcpy(stream + length, f->bytes + from, to - from);
    length += (uint32_t)(to - from);
}

static void send_commit(uint64_t epoch, uint64_t number)
{
    sc_put_be16(stream + length, 1 + SC_COMMIT_BYTES);
    memcpy(stream + length + 2, "UC", 2);
    sc_put_be64(stream + length + 4, epoch);
    sc_put_be64(stream + length + 12, number);
    length += SC_SOUP_HEADER_BYTES + SC_COMMIT_BYTES;
}

static fixture *primary_log(void)
{
    fixture *f = fixture_new(1 << 16, FIRST);
    fixture_fill(f, 150, 20);
    sc_stamp stamp = {.time = 5000, .kind = SC_KIND_ADMIT};
    memcpy(stamp.sender, "SEQ1  ", SC_SENDER_BYTES);
    CHECK(sc_segment_append(&f->segment, NULL, 0, &stamp) == 0);
    stamp.kind = SC_KIND_DATA;
    stamp.sender_sequence = 1;
    CHECK(sc_segment_append(&f->segment, NULL, 0, &stamp) == 0);
    return f;
}

static void everything_in_one_call(const fixture *primary, fixture *f, sc_senders *senders)
{
    sc_following following = {.commit = 3};
    length = 0;
    send_commit(EPOCH, 99);
    send_records(primary, 100, 229); /* more than one portion */
    send_commit(EPOCH, 150);
    send_commit(EPOCH, 120); /* an older one */
    send_records(primary, 230, 239);
    CHECK(sc_follow(&f->segment, senders, stream, length, EPOCH, &following) == SC_STOP_NONE);
    CHECK(following.consumed == length && following.records == 140 && following.commit == 150);
    CHECK(f->segment.count == 140 && f->segment.end == sc_segment_locate(&primary->segment, 240));
    CHECK(memcmp(f->bytes, primary->bytes, f->segment.end) == 0);
    CHECK(senders->count == 1 && senders->rows[0].sequence == 140 && senders->rows[0].number == 239);
}

static void up_to_a_control_record(const fixture *primary, fixture *f, sc_senders *senders)
{
    sc_following following = {.commit = 150};
    length = 0;
    send_records(primary, 240, 250);
    uint32_t behind = length;
    send_records(primary, 251, 251);
    CHECK(sc_follow(&f->segment, senders, stream, length, EPOCH, &following) == SC_STOP_CONTROL);
    CHECK(following.consumed == behind && following.records == 11);
    CHECK(sc_follow(&f->segment, senders, stream + behind, length - behind, EPOCH, &following) ==
          SC_STOP_NONE);
    CHECK(following.consumed == length - behind && following.records == 1 && following.commit == 150);
    CHECK(senders->count == 2 && senders->rows[1].number == 251);
}

/* The first packet that is not for this call stays, and so does all behind it. */
static void stops(const fixture *primary)
{
    static const struct {
        uint32_t at; /* in the packet behind the record that is good */
        uint8_t value;
    } changes[] = {{2, 'U'}, {2, 'X'}, {0, 1}, {10, 0xFF}};
    for (uint32_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        fixture *f = fixture_new(1 << 16, FIRST);
        sc_senders *senders = sc_senders_new(4);
        sc_following following = {.commit = 1};
        length = 0;
        send_records(primary, 100, 100);
        uint32_t behind = length;
        send_records(primary, 101, 101);
        send_commit(EPOCH, 101);
        stream[behind + changes[i].at] = changes[i].value;
        int32_t stop = sc_follow(&f->segment, senders, stream, length, EPOCH, &following);
        CHECK((stop == SC_STOP_CRC) == (changes[i].at == 10));
        CHECK(following.consumed == behind && following.records == 1 && following.commit == 1);
        CHECK(f->segment.count == 1);
        sc_senders_free(senders);
        fixture_free(f);
    }
    sc_senders *senders = sc_senders_new(4);
    fixture *f = fixture_new(1 << 16, FIRST);
    sc_following following = {0};
    length = 0;
    send_commit(EPOCH + 1, 100);
    CHECK(sc_follow(&f->segment, senders, stream, length, EPOCH, &following) == SC_STOP_NONE);
    CHECK(following.consumed == 0 && following.commit == 0);
    stream[3] = 'G'; /* another kind */
    CHECK(sc_follow(&f->segment, senders, stream, length, EPOCH + 1, &following) == SC_STOP_NONE);
    CHECK(following.consumed == 0 && following.commit == 0);
    f->segment.capacity = f->segment.end + 40;
    length = 0;
    send_records(primary, 100, 100);
    CHECK(sc_follow(&f->segment, senders, stream, length, EPOCH, &following) == SC_STOP_FULL);
    CHECK(following.consumed == 0 && following.records == 0 && f->segment.count == 0);
    sc_senders_free(senders);
    fixture_free(f);
}

/* However the stream is cut, what is taken is whole, and nothing behind the end is read. */
static void every_truncation(const fixture *primary)
{
    length = 0;
    send_records(primary, 100, 101);
    send_commit(EPOCH, 101);
    send_records(primary, 102, 102);
    for (uint32_t cut = 0; cut <= length; cut++) {
        fixture *f = fixture_new(1 << 16, FIRST);
        sc_senders *senders = sc_senders_new(4);
        sc_following following = {0};
        uint8_t *piece = malloc(cut ? cut : 1);
        CHECK(piece != NULL && senders != NULL);
        memcpy(piece, stream, cut);
        CHECK(sc_follow(&f->segment, senders, piece, cut, EPOCH, &following) == SC_STOP_NONE);
        CHECK(following.consumed <= cut && following.records == f->segment.count);
        uint32_t rest = length - following.consumed;
        CHECK(sc_follow(&f->segment, senders, stream + following.consumed, rest, EPOCH, &following) ==
              SC_STOP_NONE);
        CHECK(following.consumed == rest && f->segment.count == 3 && following.commit == 101);
        free(piece);
        sc_senders_free(senders);
        fixture_free(f);
    }
}

int main(void)
{
    fixture *primary = primary_log(), *f = fixture_new(1 << 16, FIRST);
    sc_senders *senders = sc_senders_new(4);
    CHECK(senders != NULL);
    everything_in_one_call(primary, f, senders);
    up_to_a_control_record(primary, f, senders);
    stops(primary);
    every_truncation(primary);
    sc_senders_free(senders);
    fixture_free(f);
    fixture_free(primary);
    return 0;
}

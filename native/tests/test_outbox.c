/* The outbox: framing, fragments, acknowledgements, going back after a reconnection. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "outbox.h"
#include "record.h"

static uint8_t text[5000];

static sc_message message(uint32_t offset, uint32_t length)
{
    return (sc_message){.number = 0, .offset = offset, .length = length};
}

/* Checks the frame at `at`; returns the offset behind it. */
static uint64_t check_frame(const sc_outbox *o, uint64_t at, uint64_t sequence, uint8_t flags,
                            uint32_t length)
{
    CHECK(sc_get_be16(o->data + at) == 10 + length && o->data[at + 2] == 'U');
    CHECK(sc_get_be64(o->data + at + 3) == sequence && o->data[at + 11] == flags);
    return at + SC_OUTBOX_FRAME_BYTES + length;
}

static void frames_and_fragments(void)
{
    sc_outbox *o = sc_outbox_new(8192);
    sc_message rows[] = {message(0, 0), message(0, 100), message(100, 101), message(300, 250)};
    sc_outbox_begin(o, 10);
    CHECK(sc_outbox_put(o, text, rows, 4, 100) == 4);
    CHECK(o->next_sequence == 17 && o->messages == 4);
    uint64_t at = check_frame(o, 0, 10, 3, 0);
    at = check_frame(o, at, 11, 3, 100);
    at = check_frame(o, at, 12, SC_FLAG_FIRST, 100);
    at = check_frame(o, at, 13, SC_FLAG_LAST, 1);
    at = check_frame(o, at, 14, SC_FLAG_FIRST, 100);
    at = check_frame(o, at, 15, 0, 100);
    CHECK(memcmp(o->data + at + SC_OUTBOX_FRAME_BYTES, text + 500, 50) == 0);
    CHECK(check_frame(o, at, 16, SC_FLAG_LAST, 50) == o->tail);
    sc_outbox_free(o);
}

static void acknowledges_only_what_was_sent(void)
{
    sc_outbox *o = sc_outbox_new(8192);
    sc_message rows[] = {message(0, 10), message(10, 10), message(20, 10)};
    CHECK(sc_outbox_put(o, text, rows, 3, 100) == 3);
    CHECK(sc_outbox_acknowledge(o, 3) == 0);
    sc_outbox_left(o, 22 + 5); /* the second frame left in part */
    CHECK(o->edge == 44 && o->sent == 27);
    CHECK(sc_outbox_acknowledge(o, 3) == 1 && o->first_sequence == 2);
    sc_outbox_left(o, 17);
    CHECK(o->edge == o->sent);
    CHECK(sc_outbox_acknowledge(o, 1) == 0);
    CHECK(sc_outbox_acknowledge(o, 2) == 1 && o->first_sequence == 3);
    sc_outbox_left(o, 22);
    CHECK(sc_outbox_acknowledge(o, 99) == 1 && o->head == 0 && o->tail == 0 && o->edge == 0);
    CHECK(o->next_sequence == 4 && o->first_sequence == 4);
    sc_outbox_free(o);
}

static void goes_back_after_a_reconnection(void)
{
    sc_outbox *o = sc_outbox_new(8192);
    sc_message rows[] = {message(0, 10), message(10, 20), message(20, 30)};
    sc_outbox_begin(o, 5);
    CHECK(sc_outbox_put(o, text, rows, 3, 100) == 3); /* 5, 6, 7 */
    sc_outbox_left(o, 30);
    CHECK(sc_outbox_resume(o, 4) == 0 && o->sent == 0 && o->edge == 0);
    CHECK(sc_outbox_resume(o, 5) == 0 && o->sent == 22 && o->edge == 22);
    CHECK(sc_outbox_resume(o, 7) == 0 && o->sent == o->tail);
    CHECK(sc_outbox_resume(o, 8) == -1);
    CHECK(sc_outbox_resume(o, 3) == -1);
    CHECK(sc_outbox_resume(o, UINT64_MAX) == -1);
    CHECK(o->sent == o->tail);
    sc_outbox_free(o);
}

static void fills_up_and_goes_on(void)
{
    sc_outbox *o = sc_outbox_new(300);
    sc_message rows[] = {message(0, 100), message(100, 100), message(200, 350)};
    CHECK(sc_outbox_put(o, text, rows, 3, 100) == 2); /* 224 bytes: no room for a first fragment */
    CHECK(o->partial == 0);
    sc_outbox_left(o, o->tail);
    CHECK(sc_outbox_acknowledge(o, 2) == 2);
    CHECK(sc_outbox_put(o, text, rows + 2, 1, 100) == 0); /* two of four fragments */
    CHECK(o->partial == 200 && o->next_sequence == 5);
    CHECK(sc_outbox_put(o, text, rows + 2, 1, 100) == 0 && o->partial == 200);
    sc_outbox_left(o, 112);
    CHECK(sc_outbox_acknowledge(o, 3) == 1);
    sc_outbox_left(o, 112);
    CHECK(sc_outbox_acknowledge(o, 4) == 1);
    CHECK(sc_outbox_put(o, text, rows + 2, 1, 100) == 1 && o->partial == 0);
    CHECK(check_frame(o, 0, 5, 0, 100) == 112);
    CHECK(check_frame(o, 112, 6, SC_FLAG_LAST, 50) == o->tail);
    sc_outbox_free(o);
}

static void passes_over_what_is_known(void)
{
    sc_outbox *o = sc_outbox_new(8192);
    sc_message rows[] = {message(0, 0), message(0, 100), message(0, 201), message(300, 50)};
    uint64_t frames = 2;
    CHECK(sc_outbox_skip(o, rows, 4, 100, &frames) == 2 && frames == 0 && o->partial == 0);
    frames = 3;
    CHECK(sc_outbox_skip(o, rows, 4, 100, &frames) == 2 && frames == 0 && o->partial == 100);
    sc_outbox_begin(o, 4);
    frames = 99;
    CHECK(sc_outbox_skip(o, rows, 4, 100, &frames) == 4 && frames == 93);
    frames = 4;
    sc_outbox_begin(o, 5);
    CHECK(sc_outbox_skip(o, rows, 4, 100, &frames) == 2 && o->partial == 200);
    CHECK(sc_outbox_put(o, text, rows + 2, 2, 100) == 2);
    CHECK(check_frame(o, check_frame(o, 0, 5, SC_FLAG_LAST, 1), 6, 3, 50) == o->tail);
    sc_outbox_free(o);
}

/* Random puts, sends and acknowledgements against a count of bytes that must come out in order. */
static void survives_random_use(void)
{
    srand(12345);
    sc_outbox *o = sc_outbox_new(2000);
    uint64_t sent_sequence = 0, put_total = 0;
    for (int step = 0; step < 200000; step++) {
        sc_message row = message((uint32_t)(rand() % 3000), (uint32_t)(rand() % 500));
        static sc_message pending;
        static int has_pending;
        if (!has_pending) {
            pending = row;
            has_pending = 1;
        }
        if (sc_outbox_put(o, text, &pending, 1, 128) == 1) {
            has_pending = 0;
            put_total++;
        }
        uint64_t waiting = o->tail - o->sent;
        if (waiting)
            sc_outbox_left(o, (uint64_t)rand() % (waiting + 1));
        CHECK(o->head <= o->sent && o->sent <= o->edge && o->edge <= o->tail && o->tail <= o->capacity);
        uint64_t in_flight = o->next_sequence - o->first_sequence;
        sc_outbox_acknowledge(o, o->first_sequence + (uint64_t)rand() % (in_flight + 2));
        CHECK(o->first_sequence >= sent_sequence);
        sent_sequence = o->first_sequence;
    }
    CHECK(o->messages == put_total && put_total > 1000);
    sc_outbox_free(o);
}

int main(void)
{
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7 + i / 256);
    frames_and_fragments();
    acknowledges_only_what_was_sent();
    goes_back_after_a_reconnection();
    fills_up_and_goes_on();
    passes_over_what_is_known();
    survives_random_use();
    return 0;
}

/* The outbox: framing, fragments, acknowledgements, going back after a reconnection. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* A TCP connection over loopback: `ends[0]` sends, `ends[1]` receives. */
static void connect_pair(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(ends[0], (struct sockaddr *)&address, sizeof address) == 0);
    ends[1] = accept(listener, NULL, NULL);
    CHECK(ends[1] >= 0);
    CHECK(setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    close(listener);
}

static int queued(int fd, unsigned long what)
{
    int bytes = -1;
    CHECK(ioctl(fd, what, &bytes) == 0);
    return bytes;
}

/* Nobody answers, nobody calls again: everything arrives all the same. */
static void test_send_leaves_nothing_behind(void)
{
    static uint8_t message[200], in[1 << 20];
    int ends[2];
    connect_pair(ends);
    sc_outbox *o = sc_outbox_new(1 << 20);
    uint64_t frame = SC_OUTBOX_FRAME_BYTES + sizeof message, arrived = 0;
    CHECK(sc_outbox_send(o, ends[0], 1000) == 0);
    for (uint64_t i = 1; i <= 1000; i++) {
        CHECK(sc_outbox_put_one(o, message, sizeof message, 1000) == i);
        CHECK(sc_outbox_send(o, ends[0], 1 << 18) == (int64_t)frame);
        /* Either it left, or there is something whose acknowledgement takes it along. */
        int all = queued(ends[0], SIOCOUTQ), kept = queued(ends[0], SIOCOUTQNSD);
        CHECK(kept == 0 || all > kept);
    }
    struct pollfd waiting = {.fd = ends[1], .events = POLLIN};
    while (arrived < 1000 * frame) {
        CHECK(poll(&waiting, 1, 10000) == 1);
        ssize_t count = read(ends[1], in + arrived, sizeof in - arrived);
        CHECK(count > 0);
        arrived += (uint64_t)count;
    }
    CHECK(arrived == 1000 * frame && memcmp(in, o->data, arrived) == 0);
    /* The peer's kernel has all of it, and the answers wait to be read: the next one leaves at once. */
    while (queued(ends[0], SIOCOUTQ) > 0)
        poll(NULL, 0, 1);
    CHECK(o->sent - o->head >= SC_OUTBOX_BUSY_SENDS * frame);
    CHECK(sc_outbox_put_one(o, message, sizeof message, 1000) == 1001);
    CHECK(sc_outbox_send(o, ends[0], 1 << 18) == (int64_t)frame);
    CHECK(queued(ends[0], SIOCOUTQNSD) == 0);
    CHECK(sc_outbox_acknowledge(o, 1001) == 1001);
    sc_outbox_free(o);
    close(ends[0]);
    close(ends[1]);
}

static void test_send_to_a_full_or_closed_socket(void)
{
    static uint8_t message[60000];
    int ends[2];
    connect_pair(ends);
    sc_outbox *o = sc_outbox_new(16 << 20);
    while (sc_outbox_put_one(o, message, sizeof message, 65000) != 0)
        continue;
    int64_t count = sc_outbox_send(o, ends[0], 1 << 18);
    CHECK(count > 0 && o->sent == (uint64_t)count && o->sent < o->tail && o->edge >= o->sent);
    while ((count = sc_outbox_send(o, ends[0], 1 << 18)) > 0)
        continue;
    CHECK(count == -EAGAIN);
    close(ends[1]);
    do
        count = sc_outbox_send(o, ends[0], 1 << 18);
    while (count == -EAGAIN || count > 0);
    CHECK(count == -ECONNRESET || count == -EPIPE);
    close(ends[0]);
    CHECK(sc_outbox_send(o, -1, 1 << 18) == -EBADF);
    sc_outbox_free(o);
}

static void test_put_one(void)
{
    static uint8_t message[100];
    sc_outbox *o = sc_outbox_new(300);
    sc_message row = {0, 0, 100};
    CHECK(sc_outbox_put_one(o, message, 51, 50) == 0); /* it needs fragments */
    CHECK(sc_outbox_put_one(o, message, UINT64_MAX, 50) == 0 && o->tail == 0);
    CHECK(sc_outbox_put_one(o, message, 0, 50) == 1 && o->tail == SC_OUTBOX_FRAME_BYTES);
    CHECK(sc_outbox_put_one(o, message, 50, 50) == 2 && o->data[SC_OUTBOX_FRAME_BYTES + 11] == 3);
    CHECK(sc_outbox_put(o, message, &row, 1, 80) == 1 && o->messages == 3);
    CHECK(sc_outbox_put_one(o, message, 100, 200) == 0 && o->tail == 198); /* no room */
    sc_outbox_begin(o, 7);
    o->partial = 10; /* another message is in hand */
    CHECK(sc_outbox_put_one(o, message, 50, 50) == 0);
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
    test_put_one();
    test_send_leaves_nothing_behind();
    test_send_to_a_full_or_closed_socket();
    return 0;
}

/* Express turns: what is simple is ordered, published and answered; everything else is left where it is. */
#define _GNU_SOURCE
#include "express.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "segment_fixture.h"

enum { RUNS = 8, SENDERS = 4, BUFFER = 4096, ROWS = 64, FDS = 256, DATAGRAM = 400 };

static const uint64_t SECOND = 1000000000;

typedef struct {
    fixture *log;
    sc_senders *senders;
    sc_express x;
    sc_answers answers;
    uint32_t slots[RUNS], ends[RUNS], heads[RUNS], open[SENDERS];
    uint8_t packets[RUNS * SC_ANSWER_PACKET_BYTES];
    sc_run runs[RUNS];
    sc_message rows[ROWS];
    sc_span to_commit, to_wire;
    sc_lane *by_fd[FDS], *by_slot[SENDERS];
    int epoll, line; /* our end of it is in x */
    sc_ready ready[SC_WAIT_MAX];
} bus;

typedef struct {
    sc_lane lane;
    uint8_t buffer[BUFFER];
    int peer;
} sender;

static bus *bus_new(uint64_t log_bytes)
{
    bus *b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    int line[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, line) == 0);
    b->log = fixture_new(log_bytes, 1);
    b->senders = sc_senders_new(SENDERS);
    b->answers = (sc_answers){.capacity = RUNS,
                              .slots = b->slots,
                              .ends = b->ends,
                              .packets = b->packets,
                              .heads = b->heads,
                              .runs = b->runs,
                              .open = b->open};
    b->x = (sc_express){.senders = b->senders,
                        .outgoing = sc_outgoing_new((const uint8_t *)"SESSION   ", 4, DATAGRAM),
                        .answers = &b->answers,
                        .to_commit = &b->to_commit,
                        .to_wire = &b->to_wire,
                        .rows = b->rows,
                        .row_capacity = ROWS,
                        .payload_limit = 100,
                        .lines = {line[0]},
                        .line_count = 1,
                        .lane_limit = FDS,
                        .by_fd = b->by_fd,
                        .by_slot = b->by_slot,
                        .tail = &b->log->segment};
    b->line = line[1];
    b->epoll = epoll_create1(0);
    CHECK(b->x.outgoing != NULL && b->epoll >= 0);
    return b;
}

static void bus_free(bus *b)
{
    close(b->epoll);
    close(b->line);
    close(b->x.lines[0]);
    sc_outgoing_free(b->x.outgoing);
    sc_senders_free(b->senders);
    fixture_free(b->log);
    free(b);
}

static void connect_sender(bus *b, sender *s, const char *name)
{
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && ends[0] < FDS);
    s->peer = ends[1];
    s->lane = (sc_lane){.fd = ends[0],
                        .slot = (uint32_t)sc_senders_add(b->senders, (const uint8_t *)name),
                        .buffer = s->buffer,
                        .capacity = BUFFER};
    b->by_fd[ends[0]] = b->by_slot[s->lane.slot] = &s->lane;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[0]};
    CHECK(epoll_ctl(b->epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
}

static void disconnect(sender *s)
{
    close(s->lane.fd);
    close(s->peer);
}

/* Submissions first..first+count-1, of which the last `cut` bytes do not leave. */
static void submit(sender *s, uint64_t first, uint32_t count, uint32_t cut)
{
    uint8_t out[BUFFER];
    uint32_t length = 0;
    for (uint32_t i = 0; i < count; i++) {
        sc_put_be16(out + length, 1 + 9 + 5);
        out[length + 2] = 'U';
        sc_put_be64(out + length + 3, first + i);
        out[length + 11] = 3;
        memcpy(out + length + 12, "hello", 5);
        length += 17;
    }
    CHECK(send(s->peer, out, length - cut, 0) == (ssize_t)(length - cut));
}

static int32_t run(bus *b)
{
    return sc_express_run(&b->x, b->epoll, b->ready, SC_WAIT_MAX, 0, 0, SECOND);
}

static void check_answer(sender *s, uint64_t sequence, uint64_t number, uint32_t count)
{
    uint8_t in[SC_ANSWER_PACKET_BYTES];
    CHECK(recv(s->peer, in, sizeof in, MSG_DONTWAIT) == sizeof in);
    CHECK(sc_get_be64(in + 3) == sequence && sc_get_be64(in + 11) == number && sc_get_be32(in + 19) == count);
}

static void check_datagram(bus *b, uint64_t number, uint16_t count)
{
    uint8_t in[DATAGRAM];
    CHECK(recv(b->line, in, sizeof in, MSG_DONTWAIT) > 20);
    CHECK(sc_get_be64(in + 10) == number && sc_get_be16(in + 18) == count);
}

static int quiet(int fd)
{
    uint8_t byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

static void moves_messages(void)
{
    bus *b = bus_new(1 << 14);
    sender alpha, beta;
    connect_sender(b, &alpha, "ALPHA ");
    connect_sender(b, &beta, "BETA  ");
    CHECK(run(b) == 0 && b->x.turns == 0 && b->x.published_ns == 0);
    submit(&alpha, 1, 2, 0);
    submit(&beta, 1, 1, 0);
    CHECK(run(b) == 0 && b->x.exceptions == 0);
    CHECK(b->x.turns == 1 && b->x.stamped == 3 && b->x.datagrams[0] == 1);
    CHECK(b->x.number == 3 && b->x.told == 3 && b->x.next_number == 4 && b->x.published_ns > 0);
    CHECK(b->to_commit.latency.count == 3 && b->to_wire.latency.count == 3);
    check_datagram(b, 1, 3);
    check_answer(&alpha, 2, 2, 2);
    check_answer(&beta, 1, 3, 1);
    CHECK(alpha.lane.heard_ns > 0 && alpha.lane.told_ns == alpha.lane.heard_ns);
    CHECK(quiet(b->line) && quiet(alpha.peer) && quiet(beta.peer));
    disconnect(&alpha);
    disconnect(&beta);
    bus_free(b);
}

static void leaves_what_is_not_whole(void)
{
    bus *b = bus_new(1 << 14);
    sender s;
    connect_sender(b, &s, "ALPHA ");
    submit(&s, 1, 3, 4); /* the third is cut short */
    CHECK(run(b) == 1 && b->ready[0].fd == s.lane.fd && b->x.exceptions == 1);
    CHECK(b->x.stamped == 2 && s.lane.start == 34 && s.lane.end == 47 && s.lane.closed);
    check_answer(&s, 2, 2, 2);
    CHECK(send(s.peer, "ello", 4, 0) == 4);
    CHECK(run(b) == 1 && b->x.stamped == 2 && s.lane.end == 47); /* not read: the owner comes first */
    disconnect(&s);
    bus_free(b);
}

static void leaves_other_packets(void)
{
    bus *b = bus_new(1 << 14);
    sender s;
    connect_sender(b, &s, "ALPHA ");
    submit(&s, 1, 1, 0);
    CHECK(send(s.peer, "\0\1R", 3, 0) == 3);
    CHECK(run(b) == 1 && b->x.stamped == 1 && s.lane.start == 17 && s.lane.end == 20);
    check_answer(&s, 1, 1, 1);
    disconnect(&s);

    connect_sender(b, &s, "ALPHA ");
    submit(&s, 3, 2, 0); /* a hole */
    CHECK(run(b) == 1 && b->x.stamped == 1 && s.lane.start == 0 && s.lane.end == 34);
    disconnect(&s);

    connect_sender(b, &s, "ALPHA ");
    submit(&s, 1, 2, 0); /* one again */
    CHECK(run(b) == 1 && b->x.stamped == 2 && s.lane.duplicates == 1 && s.lane.end == 0 && !s.lane.closed);
    check_answer(&s, 2, 2, 1);
    close(s.peer);
    CHECK(run(b) == 1 && b->x.stamped == 2 && b->ready[0].fd == s.lane.fd); /* its end */
    close(s.lane.fd);
    bus_free(b);
}

static void leaves_what_has_no_room(void)
{
    bus *b = bus_new(SC_SEGMENT_HEADER_BYTES + 3 * (3 + 5 + SC_STAMP_BYTES) + 10);
    sender s;
    connect_sender(b, &s, "ALPHA ");
    submit(&s, 1, 5, 0);
    CHECK(run(b) == 1 && b->x.stamped == 3 && s.lane.start == 51 && s.lane.end == 85);
    check_answer(&s, 3, 3, 3);
    check_datagram(b, 1, 3);
    disconnect(&s);
    bus_free(b);
}

static void leaves_what_a_socket_does_not_take(void)
{
    bus *b = bus_new(1 << 16);
    sender s;
    connect_sender(b, &s, "ALPHA ");
    int small = 1, filled = 0;
    CHECK(setsockopt(s.lane.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    while (send(s.lane.fd, "\0\1H", 3, MSG_DONTWAIT) == 3)
        filled++;
    submit(&s, 1, 1, 0);
    CHECK(run(b) == 0 && b->x.exceptions == 1 && filled > 0);
    CHECK(s.lane.untold == 0 && s.lane.untold_end == SC_ANSWER_PACKET_BYTES && b->x.told == 1);
    CHECK(!b->x.behind);
    disconnect(&s);

    connect_sender(b, &s, "ALPHA ");
    while (send(b->x.lines[0], "", 1, MSG_DONTWAIT) == 1)
        ;
    submit(&s, 2, 1, 0);
    CHECK(run(b) == 0 && b->x.behind && b->x.sent[0] == 0 && b->x.next_number == 3 && b->x.told == 2);
    check_answer(&s, 2, 2, 1);
    disconnect(&s);
    bus_free(b);
}

static void leaves_other_descriptors(void)
{
    bus *b = bus_new(1 << 14);
    sender lane, stranger;
    connect_sender(b, &stranger, "BETA  ");
    b->by_fd[stranger.lane.fd] = NULL;
    connect_sender(b, &lane, "ALPHA ");
    submit(&stranger, 1, 1, 0);
    submit(&lane, 1, 1, 0);
    CHECK(run(b) == 1 && b->ready[0].fd == stranger.lane.fd && b->x.stamped == 1);
    disconnect(&lane);
    disconnect(&stranger);
    bus_free(b);
}

static void comes_back_in_time(void)
{
    bus *b = bus_new(1 << 14);
    sender s;
    connect_sender(b, &s, "ALPHA ");
    submit(&s, 1, 1, 0);
    /* Within a millisecond of the message, though there is nothing to do for an hour. */
    CHECK(sc_express_run(&b->x, b->epoll, b->ready, SC_WAIT_MAX, 3600 * SECOND, 0, SECOND / 1000) == 0);
    CHECK(b->x.stamped == 1 && b->x.turns == 1);
    disconnect(&s);
    bus_free(b);
}

static void numbers_more_runs_than_fit(void)
{
    bus *b = bus_new(1 << 16);
    sender alpha, beta;
    connect_sender(b, &alpha, "ALPHA ");
    connect_sender(b, &beta, "BETA  ");
    b->answers.capacity = 1;
    submit(&alpha, 1, 4, 0);
    submit(&beta, 1, 4, 0);
    CHECK(run(b) == 0 && b->x.told == 8 && b->x.exceptions == 0);
    check_answer(&alpha, 4, 4, 4);
    check_answer(&beta, 4, 8, 4);
    disconnect(&alpha);
    disconnect(&beta);
    bus_free(b);
}

int main(void)
{
    moves_messages();
    leaves_what_is_not_whole();
    leaves_other_packets();
    leaves_what_has_no_room();
    leaves_what_a_socket_does_not_take();
    leaves_other_descriptors();
    comes_back_in_time();
    numbers_more_runs_than_fit();
    return 0;
}

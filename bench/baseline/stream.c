/*
 * A stream of SoupBinTCP packets over TCP on loopback: from a file, or from whoever serves one.
 *
 *   stream write    FILE PACKETS                              a process sends the file from memory
 *   stream sendfile FILE PACKETS                              a process sends it from the page cache
 *   stream drain    PORT LOGIN PACKETS BYTES_PER_SECOND       somebody else sends, after this login (in hex)
 *
 * FILE holds whole packets, and is sent again and again. The reader is the same in all three: it takes what
 * there is, walks over the packets, and ends when it has seen so many with sequenced data. With a rate above
 * 0 it takes no more than so many bytes a second, in portions of 1.7 ms, and lets TCP hold up the rest.
 */
#define _GNU_SOURCE
#include "loopback.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define READ_BYTES 262144
#define PORTION_BYTES 16384 /* of a reader with a rate, at least: 1.7 ms at 75 Mbit/s */
#define PORTIONS_PER_SECOND 600
#define LOGIN_LIMIT 256
#define HEARTBEAT_NS NS_PER_SECOND /* a server hears from its reader at least every 15 s */

typedef struct {
    uint64_t sequenced, others, bytes;
    int64_t begun_ns, first_ns, last_ns;
    uint64_t first_bytes;
    int ended; /* by the server, before all were there */
} tally;

/* How far the reader is inside a packet: what is missing of its body, or the header bytes that are there. */
typedef struct {
    size_t missing, header;
    uint8_t length[2];
} place;

static volatile sig_atomic_t told_to_end;

static void tell_to_end(int number)
{
    (void)number;
    told_to_end = 1;
}

static void walk(const uint8_t *bytes, size_t count, place *place, tally *tally)
{
    for (size_t at = 0; at < count;) {
        if (place->missing == 0) {
            place->length[place->header++] = bytes[at++];
            if (place->header < 2)
                continue;
            place->missing = (size_t)place->length[0] << 8 | place->length[1];
            place->header = 0;
            if (place->missing == 0)
                tally->others++; /* no type: a packet without anything */
            continue;
        }
        /* The whole body is skipped, or what is here of it; its first byte is the type. */
        size_t whole = (size_t)place->length[0] << 8 | place->length[1];
        if (place->missing == whole) {
            if (bytes[at] == 'S')
                tally->sequenced++;
            else
                tally->others++;
        }
        size_t step = place->missing < count - at ? place->missing : count - at;
        place->missing -= step;
        at += step;
    }
}

static void drain(int in, uint64_t packets, uint64_t bytes_per_second, int answers, tally *tally)
{
    static uint8_t buffer[READ_BYTES];
    place place = {0};
    int64_t beat_ns = now_ns() + HEARTBEAT_NS;
    packets += tally->sequenced;
    size_t portion = bytes_per_second ? bytes_per_second / PORTIONS_PER_SECOND : READ_BYTES;
    portion = portion < PORTION_BYTES ? PORTION_BYTES : portion > READ_BYTES ? READ_BYTES : portion;
    set_patience(in);
    while (tally->sequenced < packets && !told_to_end) {
        if (bytes_per_second)
            sleep_until(tally->begun_ns +
                        (int64_t)((__int128)tally->bytes * NS_PER_SECOND / bytes_per_second));
        ssize_t length = recv(in, buffer, portion, 0);
        int64_t now = now_ns();
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0) {
            tally->ended = 1;
            return;
        }
        walk(buffer, (size_t)length, &place, tally);
        tally->bytes += (size_t)length;
        if (tally->first_ns == 0) {
            tally->first_ns = now;
            tally->first_bytes = (size_t)length;
        }
        tally->last_ns = now;
        if (answers && now >= beat_ns) {
            beat_ns = now + HEARTBEAT_NS;
            if (send(in, "\0\1R", 3, MSG_NOSIGNAL) != 3)
                return;
        }
    }
}

static void serve(int listener, int file, size_t size, int from_memory)
{
    int out = accept(listener, NULL, NULL);
    uint8_t *memory = from_memory ? mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0) : NULL;
    if (out < 0 || memory == MAP_FAILED)
        fail("serve");
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        off_t at = 0;
        while ((size_t)at < size) {
            size_t left = size - (size_t)at;
            ssize_t sent = from_memory ? send(out, memory + at, left, 0) : sendfile(out, file, &at, left);
            if (sent <= 0)
                return; /* the reader has enough */
            if (from_memory)
                at += sent;
        }
    }
}

static int connected(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int result = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (result < 0 || connect(result, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    return result;
}

static int from_hex(const char *text, uint8_t *bytes, size_t *count)
{
    size_t digits = strlen(text);
    *count = digits / 2;
    if (digits % 2 || digits > 2 * LOGIN_LIMIT)
        return 0;
    for (size_t i = 0; i < *count; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return 0;
        bytes[i] = (uint8_t)byte;
    }
    return 1;
}

static void measure_file(const char *path, uint64_t packets, int from_memory, tally *tally)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    struct stat status;
    int file = open(path, O_RDONLY);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (file < 0 || fstat(file, &status) != 0 || status.st_size == 0)
        fail(path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 ||
        listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        fail("listen");
    pid_t server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener, file, (size_t)status.st_size, from_memory);
        _exit(0);
    }
    if (server < 0)
        fail("fork");
    int in = connected(ntohs(address.sin_port));
    drain(in, packets, 0, 0, tally);
    close(in);
    waitpid(server, NULL, 0);
}

int main(int argc, char **argv)
{
    tally tally = {0};
    int from_memory = argc == 4 && strcmp(argv[1], "write") == 0;
    int from_file = argc == 4 && strcmp(argv[1], "sendfile") == 0;
    int draining = argc == 6 && strcmp(argv[1], "drain") == 0;
    uint64_t packets = argc > 3 ? strtoull(argv[draining ? 4 : 3], NULL, 10) : 0;
    if (packets < 1 || packets > UINT32_MAX || !(from_memory || from_file || draining)) {
        fprintf(stderr, "usage: stream write|sendfile FILE PACKETS\n"
                        "       stream drain PORT LOGIN PACKETS BYTES_PER_SECOND\n");
        return FAILED;
    }
    if (draining) {
        uint8_t login[LOGIN_LIMIT];
        size_t count;
        unsigned long port = strtoul(argv[2], NULL, 10);
        if (port < 1 || port > UINT16_MAX || !from_hex(argv[3], login, &count)) {
            fprintf(stderr, "stream: an argument is out of range\n");
            return FAILED;
        }
        struct sigaction ending = {.sa_handler = tell_to_end}; /* no SA_RESTART: a read ends, too */
        sigaction(SIGTERM, &ending, NULL);
        uint64_t rate = strtoull(argv[5], NULL, 10);
        tally.begun_ns = now_ns();
        do {
            int in = connected((uint16_t)port);
            if (send(in, login, count, MSG_NOSIGNAL) != (ssize_t)count)
                fail("login");
            drain(in, packets, rate, 1, &tally);
            close(in);
        } while (rate && !told_to_end && !tally.ended);
    } else {
        measure_file(argv[2], packets, from_memory, &tally);
    }
    printf("{\"packets\": %" PRIu64 ", \"others\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"first_bytes\": %" PRIu64 ", \"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64
           ", \"ended\": %s}\n",
           tally.sequenced, tally.others, tally.bytes, tally.first_bytes, tally.first_ns, tally.last_ns,
           tally.ended ? "true" : "false");
    return 0;
}

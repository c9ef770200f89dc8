/* GET /whoami from argv[1] at port 80, by nothing but the C library: no proxy, no configuration. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_family = argc > 2 ? AF_INET6 : AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(argv[1], "80", &hints, &found);
    if (error) {
        printf("%s\n", gai_strerror(error));
        return 1;
    }
    for (; found; found = found->ai_next) {
        int client = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
        if (connect(client, found->ai_addr, found->ai_addrlen)) {
            perror("connect");
            close(client);
            continue;
        }
        char buffer[4096];
        int size = snprintf(buffer, sizeof buffer, "GET /whoami HTTP/1.0\r\nHost: %s\r\n\r\n", argv[1]);
        if (write(client, buffer, size) != size)
            return 1;
        while ((size = read(client, buffer, sizeof buffer)) > 0)
            fwrite(buffer, 1, size, stdout);
        return size < 0;
    }
    return 1;
}

/*
 * net/main.c: pail, the program: command line, configuration, then the server until a signal ends it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/options.h"
#include "net/reload.h"
#include "net/server.h"
#include "net/signal_command.h"

static void print(FILE *file, const struct text *text)
{
    if (text->count > 0)
        (void)fwrite(text->data, 1, text->count, file); /* nobody to tell if it fails */
}

int main(int argc, char **argv)
{
    struct options *options = calloc(1, sizeof(*options));
    struct options_output output = {.exit_code = 0};
    if (options == NULL)
        return 1;
    enum options_next next = config_load(options, argc, argv, &output);
    print(stdout, &output.out);
    print(stderr, &output.err);
    text_free(&output.out);
    text_free(&output.err);
    int exit_code = output.exit_code;
    if (next == OPTIONS_SIGNAL)
        exit_code = signal_command(options);
    if (next == OPTIONS_START) {
        if (reload_open_diag(options) == STATUS_OK) {
            exit_code = server_run(options);
            options->auth = NULL;
        } else {
            fprintf(stderr, "error opening file: open %s: %s\n", options->log_file,
                    strerrordesc_np(errno));
            exit_code = 1;
        }
    }
    options_free(options);
    return exit_code;
}

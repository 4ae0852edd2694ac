/*
 * net/main.c: pail, the program: command line, configuration, then the server until a signal ends it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/diag.h"
#include "core/options.h"
#include "net/server.h"

static void print(FILE *file, const struct text *text)
{
    if (text->count > 0)
        (void)fwrite(text->data, 1, text->count, file); /* nobody to tell if it fails */
}

static enum status open_diag(const struct options *options)
{
    struct diag_options diag = {
        .file = options->log_file[0] != '\0' ? options->log_file : NULL,
        .debug = options->debug,
        .trace = options->trace,
        .without_time = !options->logtime,
        .utc = options->logtime_utc,
    };
    return diag_open(&diag);
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
    if (next == OPTIONS_START) {
        if (open_diag(options) == STATUS_OK) {
            exit_code = server_run(options);
        } else {
            fprintf(stderr, "error opening file: open %s: %s\n", options->log_file,
                    strerrordesc_np(errno));
            exit_code = 1;
        }
    }
    free(options);
    return exit_code;
}

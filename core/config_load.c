/*
 * core/config_load.c: command line and file together, as main and a reload ask for them.
 *
 * Runs on: the main thread.
 */
#include <stdlib.h>

#include "core/auth.h"
#include "core/config.h"

static enum options_next load_file(struct options *options, struct options_output *output);
static enum options_next end_with(struct options_output *output, const struct options *options,
                                  const char *words, size_t count);

void options_free(struct options *options)
{
    if (options != NULL)
        auth_free(options->auth);
    free(options);
}

enum options_next config_load(struct options *options, int argc, char *const *argv,
                              struct options_output *output)
{
    options_init(options);
    options->argc = argc;
    options->argv = argv;
    enum options_next next = options_parse(options, argc, argv, output);
    if (next != OPTIONS_START)
        return next;

    if (options->config_file[0] != '\0') {
        if (load_file(options, output) == OPTIONS_EXIT)
            return OPTIONS_EXIT;
    } else if (options->is_config_test) {
        static const char words[] = "must specify [-c, --config] option to check configuration "
                                    "file syntax";
        return end_with(output, options, words, sizeof(words) - 1);
    }

    struct text why = {0};
    if (options->auth == NULL && auth_read(options, NULL, &options->auth, &why, &why) != STATUS_OK)
        next = end_with(output, options, why.data, why.count);
    else if (options_check(options, &why) != STATUS_OK)
        next = end_with(output, options, why.data, why.count);
    text_free(&why);
    if (options->trace_verbose)
        options->trace = true;
    if (options->port == 0)
        options->port = 4222; /* as nats-server: -1 is the free one */
    if (!options->is_set.cache_bytes)
        options->cache_bytes = options_cache_bytes_default();
    return next;
}

/* With -t the answer is what is told; warnings count as errors then. */
static enum options_next load_file(struct options *options, struct options_output *output)
{
    struct config *config;
    struct text why = {0};
    struct text warnings = {0};
    enum options_next next = OPTIONS_START;
    enum status status = config_read(options->config_file, &config, &why);
    if (status == STATUS_OK)
        status = config_apply(options, config, &why, &warnings);
    if (status == STATUS_OK)
        status = auth_read(options, config_root(config), &options->auth, &why, &warnings);
    if (status == STATUS_OK)
        config_digest(config, options->config_digest);
    config_free(config);

    if (status != STATUS_OK || (options->is_config_test && warnings.count > 0)) {
        text_append(&warnings, text_bytes(&why));
        next = end_with(output, options, warnings.data, warnings.count);
    } else if (options->is_config_test) {
        text_append_format(&output->err, "%s: configuration file %s is valid (%s)\n",
                           options->program, options->config_file, options->config_digest);
        output->exit_code = 0;
        next = OPTIONS_EXIT;
    } else {
        text_append(&output->err, text_bytes(&warnings));
    }
    text_free(&why);
    text_free(&warnings);
    return next;
}

/* "pail: words" and a newline. */
static enum options_next end_with(struct options_output *output, const struct options *options,
                                  const char *words, size_t count)
{
    text_append_format(&output->err, "%s: %.*s\n", options->program, (int)count, words);
    output->exit_code = 1;
    return OPTIONS_EXIT;
}

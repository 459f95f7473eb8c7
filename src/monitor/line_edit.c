/* line_edit.c - editing one line on a terminal: cursor keys, history, Tab, the common control keys.
 *
 *   Ctrl-A/Home, Ctrl-E/End  line start, end     Ctrl-K, Ctrl-U  delete to the end, the start
 *   Ctrl-W  delete word      Ctrl-L  redraw      Ctrl-C  forget the line     Up/Down  history */
#include "hmp.h"

#define LINE_MAX_BYTES 4096
#define HISTORY_MAX    64

#define CTRL(c) ((c)&0x1f)

static void put(struct line_edit *e, const char *text)
{
    e->write(e->opaque, text, strlen(text));
}

static void redraw(struct line_edit *e)
{
    g_autofree char *back =
        e->cursor < e->line->len ? g_strdup_printf("\033[%zuD", e->line->len - e->cursor) : NULL;
    put(e, "\r");
    put(e, e->prompt);
    put(e, e->line->str);
    put(e, "\033[K");
    if (back) {
        put(e, back);
    }
}

void line_edit_init(struct line_edit *e, const char *prompt, void *opaque)
{
    memset(e, 0, sizeof(*e));
    e->line = g_string_new(NULL);
    e->history = g_ptr_array_new_with_free_func(g_free);
    e->prompt = prompt;
    e->opaque = opaque;
}

void line_edit_clear(struct line_edit *e)
{
    g_string_free(e->line, TRUE);
    g_ptr_array_unref(e->history);
    g_free(e->stashed);
}

void line_edit_show_prompt(struct line_edit *e)
{
    redraw(e);
}

static void set_line(struct line_edit *e, const char *text)
{
    g_string_assign(e->line, text);
    e->cursor = e->line->len;
    redraw(e);
}

static void erase(struct line_edit *e, size_t from, size_t to)
{
    g_string_erase(e->line, from, to - from);
    e->cursor = from;
    redraw(e);
}

static void move(struct line_edit *e, size_t to)
{
    e->cursor = MIN_OF(to, e->line->len);
    redraw(e);
}

static void history_step(struct line_edit *e, int by)
{
    unsigned to = e->history_at + by;
    if (to > e->history->len || (by < 0 && e->history_at == 0)) {
        return;
    }
    if (e->history_at == e->history->len) {
        g_free(e->stashed);
        e->stashed = g_strdup(e->line->str);
    }
    e->history_at = to;
    set_line(e, to == e->history->len ? e->stashed : g_ptr_array_index(e->history, to));
}

static void remember(struct line_edit *e, const char *line)
{
    const char *last = e->history->len ? g_ptr_array_index(e->history, e->history->len - 1) : "";
    if (*line && strcmp(line, last)) {
        g_ptr_array_add(e->history, g_strdup(line));
        if (e->history->len > HISTORY_MAX) {
            g_ptr_array_remove_index(e->history, 0);
        }
    }
    e->history_at = e->history->len;
}

static void submit(struct line_edit *e)
{
    g_autofree char *line = g_strdup(g_strstrip(e->line->str));
    g_string_truncate(e->line, 0);
    e->cursor = 0;
    remember(e, line);
    put(e, "\n");
    e->submit(e->opaque, line);
}

static size_t common_prefix(char **words)
{
    size_t n = strlen(words[0]);
    for (char **w = words + 1; *w; w++) {
        size_t i = 0;
        while (i < n && words[0][i] == (*w)[i]) {
            i++;
        }
        n = i;
    }
    return n;
}

static void tab(struct line_edit *e)
{
    g_auto(GStrv) words =
        e->complete && e->cursor == e->line->len ? e->complete(e->opaque, e->line->str) : NULL;
    if (!words || !words[0]) {
        return;
    }
    size_t start = e->line->len;
    while (start && e->line->str[start - 1] != ' ') {
        start--;
    }
    size_t typed = e->line->len - start, common = common_prefix(words);
    if (common > typed || !words[1]) {
        g_string_truncate(e->line, start);
        g_string_append_len(e->line, words[0], common);
        if (!words[1]) {
            g_string_append_c(e->line, ' ');
        }
        move(e, e->line->len);
        return;
    }
    put(e, "\n");
    for (char **w = words; *w; w++) {
        put(e, *w);
        put(e, "  ");
    }
    put(e, "\n");
    redraw(e);
}

static void delete_word(struct line_edit *e)
{
    size_t from = e->cursor;
    while (from && e->line->str[from - 1] == ' ') {
        from--;
    }
    while (from && e->line->str[from - 1] != ' ') {
        from--;
    }
    erase(e, from, e->cursor);
}

static void insert(struct line_edit *e, char c)
{
    if (e->line->len >= LINE_MAX_BYTES) {
        return;
    }
    g_string_insert_c(e->line, e->cursor++, c);
    if (e->cursor == e->line->len) {
        e->write(e->opaque, &c, 1);
    } else {
        redraw(e);
    }
}

static void plain_key(struct line_edit *e, uint8_t c)
{
    switch (c) {
    case '\r':
    case '\n':
        submit(e);
        break;
    case CTRL('a'):
        move(e, 0);
        break;
    case CTRL('b'):
        move(e, e->cursor ? e->cursor - 1 : 0);
        break;
    case CTRL('c'):
        put(e, "^C\n");
        set_line(e, "");
        break;
    case CTRL('d'):
        if (e->cursor < e->line->len) {
            erase(e, e->cursor, e->cursor + 1);
        }
        break;
    case CTRL('e'):
        move(e, e->line->len);
        break;
    case CTRL('f'):
        move(e, e->cursor + 1);
        break;
    case CTRL('h'):
    case 0x7f:
        if (e->cursor) {
            erase(e, e->cursor - 1, e->cursor);
        }
        break;
    case '\t':
        tab(e);
        break;
    case CTRL('k'):
        erase(e, e->cursor, e->line->len);
        break;
    case CTRL('l'):
        put(e, "\033[H\033[2J");
        redraw(e);
        break;
    case CTRL('n'):
        history_step(e, 1);
        break;
    case CTRL('p'):
        history_step(e, -1);
        break;
    case CTRL('u'):
        erase(e, 0, e->cursor);
        break;
    case CTRL('w'):
        delete_word(e);
        break;
    case 033:
        e->state = EDIT_ESC;
        break;
    default:
        if (c >= ' ') {
            insert(e, (char)c);
        }
        break;
    }
}

static void escape_key(struct line_edit *e, uint8_t c)
{
    e->state = EDIT_PLAIN;
    switch (c) {
    case 'A':
        history_step(e, -1);
        break;
    case 'B':
        history_step(e, 1);
        break;
    case 'C':
        move(e, e->cursor + 1);
        break;
    case 'D':
        move(e, e->cursor ? e->cursor - 1 : 0);
        break;
    case 'H':
        move(e, 0);
        break;
    case 'F':
        move(e, e->line->len);
        break;
    case '~':
        if (e->csi_param == 1 || e->csi_param == 7) {
            move(e, 0);
        } else if (e->csi_param == 4 || e->csi_param == 8) {
            move(e, e->line->len);
        } else if (e->csi_param == 3 && e->cursor < e->line->len) {
            erase(e, e->cursor, e->cursor + 1);
        }
        break;
    default:
        break;
    }
}

void line_edit_feed(struct line_edit *e, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];
        switch (e->state) {
        case EDIT_PLAIN:
            plain_key(e, c);
            break;
        case EDIT_ESC:
            e->csi_param = 0;
            e->state = c == '[' ? EDIT_CSI : c == 'O' ? EDIT_SS3 : EDIT_PLAIN;
            break;
        case EDIT_CSI:
            if (g_ascii_isdigit(c)) {
                e->csi_param = (e->csi_param * 10 + (c - '0')) % 1000;
            } else if (c != ';') {
                escape_key(e, c);
            }
            break;
        case EDIT_SS3:
            escape_key(e, c);
            break;
        }
    }
}

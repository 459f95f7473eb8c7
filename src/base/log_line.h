/* log_line.h - the one place that writes a finished line; private to base (log.c, trace.c).
 *
 * Any thread.  The line goes out in a single write, so lines of different threads never mix. */
#ifndef BASE_LOG_LINE_H
#define BASE_LOG_LINE_H

/* line without newline. */
void log_line(const char *line);

#endif

/* Replaced by the first real file of this folder. */
extern int monitor_placeholder;
int monitor_placeholder;

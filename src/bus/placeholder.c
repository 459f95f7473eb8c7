/* Replaced by the first real file of this folder. */
extern int bus_placeholder;
int bus_placeholder;

/* Replaced by the first real file of this folder. */
extern int cpu_placeholder;
int cpu_placeholder;

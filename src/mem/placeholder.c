/* Replaced by the first real file of this folder. */
extern int mem_placeholder;
int mem_placeholder;

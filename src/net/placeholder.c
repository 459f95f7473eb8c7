/* Replaced by the first real file of this folder. */
extern int net_placeholder;
int net_placeholder;

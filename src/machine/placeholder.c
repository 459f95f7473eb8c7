/* Replaced by the first real file of this folder. */
extern int machine_placeholder;
int machine_placeholder;

/* Replaced by the first real file of this folder. */
extern int base_placeholder;
int base_placeholder;

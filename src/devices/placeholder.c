/* Replaced by the first real file of this folder. */
extern int devices_placeholder;
int devices_placeholder;

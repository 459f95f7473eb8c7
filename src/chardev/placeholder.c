/* Replaced by the first real file of this folder. */
extern int chardev_placeholder;
int chardev_placeholder;

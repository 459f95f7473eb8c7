/* Replaced by the first real file of this folder. */
extern int devtest_placeholder;
int devtest_placeholder;

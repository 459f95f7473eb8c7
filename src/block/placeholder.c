/* Replaced by the first real file of this folder. */
extern int block_placeholder;
int block_placeholder;

/* Replaced by the first real file of this folder. */
extern int virtio_placeholder;
int virtio_placeholder;

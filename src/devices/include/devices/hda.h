/* hda.h - an Intel High Definition Audio controller and its codecs: sound that nobody hears.
 *
 *   CORB --verbs--> codec --responses--> RIRB          streams: buffer lists walked at their rate
 *
 * Drivers find codecs, set them up and play: positions advance and interrupts come as they would
 * with a loudspeaker; what is recorded is silence.
 *
 * Owner:   the bus owns the controller, which ends its codecs.
 * Threads: registers under the board lock; stream timers in the main thread.
 * Spec:    Intel High Definition Audio 1.0a. */
#ifndef DEVICES_HDA_H
#define DEVICES_HDA_H

#include "bus/pci.h"

struct vm_clock;

#define HDA_CODECS 15u

enum hda_model { HDA_ICH6, HDA_ICH9 };
enum hda_codec_kind { HDA_OUTPUT, HDA_DUPLEX, HDA_MICRO };

struct pci_dev *hda_new(struct pci_bus *b, uint8_t devfn, bool multifunction, const char *id,
                        enum hda_model model, struct vm_clock *clock, GError **err);
bool hda_is(const struct pci_dev *d);
/* Before the machine runs.  cad: the codec's address; HDA_CODECS: the first free one. */
bool hda_codec_add(struct pci_dev *d, enum hda_codec_kind kind, unsigned cad, const char *id,
                   GError **err);

#endif

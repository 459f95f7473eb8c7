/* registry_sound.c - sound controllers and codecs as users write them. */
#include "base/error.h"
#include "base/util.h"
#include "devices/hda.h"
#include "registry.h"

const struct prop_desc props_hda[] = {
    {"msi", PROP_ONOFFAUTO, "auto", "accepted: interrupts come by the pin"},
    {"old_msi_addr", PROP_BOOL, "off", "accepted"},
    {"debug", PROP_U32, "0", "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};
const struct prop_desc props_hda_codec[] = {
    {"cad", PROP_U32, NULL, "address, 0 to 14; default: the first free one"},
    {"audiodev", PROP_STR, NULL, "accepted: nobody hears it"},
    {"mixer", PROP_BOOL, "on", "accepted"},
    {"use-timer", PROP_BOOL, "on", "accepted"},
    {"debug", PROP_U32, "0", "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

static bool create_controller(struct machine *m, struct props *p, enum hda_model model,
                              GError **err)
{
    struct device_place place;

    return device_place_read(m, p, &place, err) &&
           hda_new(place.bus, place.devfn, place.multifunction, place.id, model, m->clock, err);
}

bool create_intel_hda(struct machine *m, const struct device_class *cls, struct props *p,
                      GError **err)
{
    return create_controller(m, p, HDA_ICH6, err);
}

bool create_ich9_intel_hda(struct machine *m, const struct device_class *cls, struct props *p,
                           GError **err)
{
    return create_controller(m, p, HDA_ICH9, err);
}

/* "ID.0" names the one bus of device ID. */
static struct pci_dev *controller_find(struct machine *m, const char *bus)
{
    for (struct pci_bus *b = m->pci.buses; b; b = b->next) {
        for (size_t i = 0; i < ARRAY_SIZE(b->slot); i++) {
            struct pci_dev *d = b->slot[i];
            if (!d || !hda_is(d))
                continue;
            g_autofree char *name = g_strconcat(d->dev.id ? d->dev.id : "hda", ".0", NULL);
            if (!bus || strcmp(bus, name) == 0 || (d->dev.id && strcmp(bus, d->dev.id) == 0))
                return d;
        }
    }
    return NULL;
}

static bool create_codec(struct machine *m, struct props *p, enum hda_codec_kind kind, GError **err)
{
    const char *bus = NULL, *id = NULL;
    uint32_t cad = HDA_CODECS;
    struct pci_dev *hda;

    if (!props_get_str(p, "bus", &bus, err) || !props_get_str(p, "id", &id, err) ||
        !props_get_u32(p, "cad", &cad, err))
        return false;
    hda = controller_find(m, bus);
    if (!hda)
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "there is no sound controller%s%s; give -device intel-hda before it",
                         bus ? " with a bus " : "", bus ? bus : "");
    return hda_codec_add(hda, kind, cad, id, err);
}

bool create_hda_output(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    return create_codec(m, p, HDA_OUTPUT, err);
}

bool create_hda_duplex(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    return create_codec(m, p, HDA_DUPLEX, err);
}

bool create_hda_micro(struct machine *m, const struct device_class *cls, struct props *p,
                      GError **err)
{
    return create_codec(m, p, HDA_MICRO, err);
}

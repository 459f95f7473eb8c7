/* options.c - the table of hanok-vm's options and the loop over the command line. */
#include "opt_int.h"

#include "chardev/chardev.h"

#define LATER_DISPLAY                                                                              \
    "is accepted, but graphical displays come with a later version: nothing is shown"
#define LATER_STATE                                                                                \
    "is not possible yet: saving, restoring and migrating machines come with a later version"

const struct option_desc option_table[] = {
    {"help", ARG_NONE, NULL, "print this list", opt_help},
    {"h", ARG_NONE, NULL, NULL, opt_help},
    {"version", ARG_NONE, NULL, "print the version", opt_version},

    {"machine", ARG_TEXT, "[type=]NAME[,accel=kvm:jit][,prop=value]",
     "the board: q35 (default), pc, a version of them, or none; given again, the values merge",
     opt_machine},
    {"M", ARG_TEXT, NULL, NULL, opt_machine},
    {"accel", ARG_TEXT, "[accel=]NAME[,prop=value]",
     "kvm, or jit (also called tcg); given again, the next to try", opt_accel},
    {"enable-kvm", ARG_NONE, NULL, "the same as -machine accel=kvm", opt_enable_kvm},
    {"cpu", ARG_TEXT, "MODEL[,+FEATURE][,-FEATURE][,prop=value]",
     "the CPU model; -cpu help lists them", opt_cpu},
    {"smp", ARG_TEXT, "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]",
     "the number of CPUs and how they are arranged", opt_smp},
    {"m", ARG_TEXT, "[size=]SIZE[,slots=N,maxmem=SIZE]", "guest memory, in MiB without a suffix",
     opt_memory},
    {"mem-prealloc", ARG_NONE, NULL, "take all guest memory from the host at the start",
     opt_mem_prealloc},
    {"kernel", ARG_TEXT, "FILE", "boot this Linux (bzImage), PVH or multiboot kernel", opt_kernel},
    {"initrd", ARG_TEXT, "FILE", "initial RAM disk, or the multiboot module", opt_initrd},
    {"append", ARG_TEXT, "TEXT", "the kernel's command line", opt_append},
    {"bios", ARG_TEXT, "FILE", "firmware image; SeaBIOS when there is no kernel", opt_bios},
    {"L", ARG_TEXT, "FOLDER", "where firmware files are looked for first", opt_firmware_dir},
    {"boot", ARG_TEXT, "[order=]DRIVES[,once=DRIVES][,menu=on|off][,strict=on|off]",
     "boot order for firmware", opt_boot},
    {"name", ARG_TEXT, "[guest=]NAME[,process=NAME][,debug-threads=on|off]",
     "the name of the guest", opt_name},
    {"uuid", ARG_TEXT, "UUID", "the machine's UUID", opt_uuid},
    {"rtc", ARG_TEXT, "[base=utc|localtime|TIME][,clock=host|rt|vm][,driftfix=none|slew]",
     "the real-time clock", opt_rtc},
    {"smbios", ARG_TEXT,
     "type=0[,vendor=..][,version=..][,date=..][,release=..] | "
     "type=1[,manufacturer=..][,product=..][,version=..][,serial=..][,uuid=..][,sku=..]"
     "[,family=..] | type=2.. | type=3.. | type=11,value=TEXT",
     "tables of SMBIOS: firmware, system, board, chassis, strings", opt_smbios},
    {"fw_cfg", ARG_TEXT, "[name=]NAME,file=FILE|string=TEXT", "an item for the guest to read",
     opt_fw_cfg},
    {"global", ARG_TEXT, "DRIVER.PROP=VALUE", "a default for every device of a kind", opt_global},
    {"object", ARG_TEXT, "[qom-type=]TYPE,id=ID[,prop=value]",
     "rng-random, secret, memory-backend-*, iothread; JSON too", opt_object},
    {"device", ARG_TEXT, "[driver=]NAME[,prop=value]",
     "add a device; -device help lists them, -device NAME,help their properties; JSON too",
     opt_device},
    {"no-hpet", ARG_NONE, NULL, "leave out the HPET", opt_no_hpet},

    {"drive", ARG_TEXT,
     "file=FILE,if=virtio|none[,format=raw][,id=ID][,cache=..][,aio=..]"
     "[,media=disk|cdrom][,readonly=on|off][,snapshot=on|off][,discard=unmap][,detect-zeroes=..]"
     "[,throttling.iops-total=N][,file.PROP=VALUE]",
     "a disk image, and with if=virtio its device", opt_drive},
    {"blockdev", ARG_TEXT, "[driver=]NAME,node-name=NAME[,prop=value]",
     "one layer of a disk image; JSON too", opt_blockdev},
    {"snapshot", ARG_NONE, NULL, "changes of all -drive disks are thrown away at the end",
     opt_snapshot},
    {"hda", ARG_TEXT, "FILE", "disks on the SATA controller", opt_hda},
    {"hdb", ARG_TEXT, NULL, NULL, opt_hdb},
    {"hdc", ARG_TEXT, NULL, NULL, opt_hdc},
    {"hdd", ARG_TEXT, NULL, NULL, opt_hdd},
    {"cdrom", ARG_TEXT, "FILE", "a CD-ROM on the SATA controller", opt_cdrom},
    {"pflash", ARG_TEXT, "FILE", "the next flash chip: firmware, then its variables", opt_pflash},

    {"netdev", ARG_TEXT, "[type=]user|tap,id=ID[,prop=value]",
     "the host side of a network card; JSON too", opt_netdev},
    {"nic", ARG_TEXT, "[type=]user|tap|none[,model=NAME][,mac=MAC][,prop=value]",
     "a network card and its host side in one", opt_nic},
    {"net", ARG_TEXT, "none|nic|user|tap[,prop=value]", "older spelling: -net nic -net user",
     opt_net},

    {"chardev", ARG_TEXT, "[backend=]NAME,id=ID[,mux=on][,logfile=FILE][,prop=value]",
     "stdio, pty, socket, file, pipe, serial, null, ringbuf", opt_chardev},
    {"serial", ARG_TEXT, "DEV",
     "the next serial port: stdio, mon:stdio, pty, unix:PATH, tcp:HOST:PORT, "
     "file:PATH, chardev:ID, null or none",
     opt_serial},
    {"monitor", ARG_TEXT, "DEV", "the human monitor", opt_monitor},
    {"qmp", ARG_TEXT, "DEV", "the machine monitor (QMP)", opt_qmp},
    {"qmp-pretty", ARG_TEXT, "DEV", "the same with indented answers", opt_qmp_pretty},
    {"mon", ARG_TEXT, "[chardev=]ID[,mode=readline|control][,pretty=on|off]",
     "a monitor on a -chardev", opt_mon},
    {"parallel", ARG_TEXT, "none", "there is no parallel port", opt_parallel},
    {"debugcon", ARG_TEXT, "DEV", "port 0xe9 as a console for early code", opt_debugcon},
    {"nographic", ARG_NONE, NULL,
     "serial port and monitor on this terminal: Ctrl-a x ends, Ctrl-a c switches, Ctrl-a h helps",
     opt_nographic},
    {"display", ARG_TEXT, "none|vnc=WHERE|sdl", "where the screen is shown", opt_display},
    {"vga", ARG_TEXT, "std|virtio|none", "the graphics card", opt_vga},
    {"vnc", ARG_TEXT, "HOST:DISPLAY[,to=N][,password=on][,password-secret=ID]|unix:PATH|none",
     "show the screen to VNC viewers", opt_vnc},
    {"usb", ARG_NONE, NULL, "the chip set's USB 2 controller and its companions", opt_usb},
    {"usbdevice", ARG_TEXT, "tablet|mouse|keyboard", "the same, and a device", opt_usbdevice},
    {"audiodev", ARG_TEXT, "[driver=]none,id=ID", "no sound", opt_audiodev},

    {"S", ARG_NONE, NULL, "do not start the CPUs; 'cont' in a monitor does", opt_start_paused},
    {"no-reboot", ARG_NONE, NULL, "end instead of rebooting", opt_no_reboot},
    {"no-shutdown", ARG_NONE, NULL, "stay, stopped, when the guest switches itself off",
     opt_no_shutdown},
    {"action", ARG_TEXT,
     "[reboot=reset|shutdown][,shutdown=poweroff|pause]"
     "[,panic=pause|shutdown|exit-failure|none][,watchdog=..]",
     "what to do on such events", opt_action},
    {"watchdog-action", ARG_TEXT, "reset|shutdown|poweroff|pause|none", NULL, opt_watchdog_action},
    {"nodefaults", ARG_NONE, NULL, "no network card, serial port and monitor unless asked for",
     opt_nodefaults},
    {"no-user-config", ARG_NONE, NULL, "nothing is ever read from the user's configuration",
     opt_no_user_config},
    {"nodefconfig", ARG_NONE, NULL, NULL, opt_no_user_config},
    {"daemonize", ARG_NONE, NULL, "go to the background once everything is ready", opt_daemonize},
    {"pidfile", ARG_TEXT, "FILE", "write the process id there, and lock it", opt_pidfile},
    {"D", ARG_TEXT, "FILE", "messages and traces go to this file", opt_log_file},
    {"d", ARG_TEXT, "ITEM[,ITEM]", "log these things; -d help lists them", opt_debug},
    {"qtest", ARG_TEXT, "DEV", "drive the board without a CPU, with -accel qtest (docs/devtest.md)",
     opt_qtest},
    {"trace", ARG_TEXT, "[enable=]PATTERN[,events=FILE][,file=FILE]",
     "switch on trace points; -trace help lists them", opt_trace},
    {"msg", ARG_TEXT, "timestamp=on|off", "time stamps before messages", opt_msg},
    {"overcommit", ARG_TEXT, "[mem-lock=on|off][,cpu-pm=on|off]",
     "what the guest may keep to itself", opt_overcommit},
    {"sandbox", ARG_TEXT,
     "on|off[,obsolete=..][,elevateprivileges=..][,spawn=..][,resourcecontrol=..]",
     "refuse system calls the machine does not need", opt_sandbox},
    {"incoming", ARG_TEXT, "defer|URI", NULL, opt_incoming},
    {"loadvm", ARG_TEXT, "NAME", NULL, opt_loadvm},

    {"spice", ARG_TEXT, NULL, NULL, NULL, LATER_DISPLAY},
    {"k", ARG_TEXT, NULL, NULL, NULL,
     "is accepted, but there is no display whose keys it would name"},
    {"fsdev", ARG_TEXT, NULL, NULL, NULL,
     "is accepted, but shared folders come with a later version"},

    {"no-acpi", ARG_NONE, NULL, NULL, NULL, NULL,
     "is not possible: the machine always has ACPI (the guest can be told acpi=off with -append)"},
    {"readconfig", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: there are no configuration files, all options go on the command line"},
    {"writeconfig", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: there are no configuration files"},
    {"runas", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: start the program as the user it should be"},
    {"run-with", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: start the program as the user it should be"},
    {"chroot", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: -sandbox on confines the process instead"},
    {"gdb", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible yet: the debugger stub comes with a later version"},
    {"s", ARG_NONE, NULL, NULL, NULL, NULL,
     "is not possible yet: the debugger stub comes with a later version"},
    {"icount", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: guest time always follows host time"},
    {"numa", ARG_TEXT, NULL, NULL, NULL, NULL, "is not possible yet: guests have one memory node"},
    {"mem-path", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: use -object memory-backend-file,mem-path=PATH and -machine "
     "memory-backend=ID"},
    {"acpitable", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible: the ACPI tables are ours alone"},
    {"dtb", ARG_TEXT, NULL, NULL, NULL, NULL, "is not possible: x86 machines have no device tree"},
    {"tpmdev", ARG_TEXT, NULL, NULL, NULL, NULL, "is not possible: there is no TPM"},
    {"virtfs", ARG_TEXT, NULL, NULL, NULL, NULL,
     "is not possible yet: shared folders come with a later version"},
    {"semihosting", ARG_NONE, NULL, NULL, NULL, NULL,
     "is not possible: x86 guests have no semihosting"},
    {"singlestep", ARG_NONE, NULL, NULL, NULL, NULL,
     "is not possible: -accel jit,tier=interp runs instruction by instruction"},
    {"only-migratable", ARG_NONE, NULL, NULL, NULL, NULL, LATER_STATE},
    {NULL},
};

static const struct option_desc *find_option(const char *name)
{
    for (const struct option_desc *d = option_table; d->name; d++) {
        if (!strcmp(d->name, name)) {
            return d;
        }
    }
    return NULL;
}

static bool unknown_option(const char *typed, const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *asked = g_strdup_printf("-%s", name);
    for (const struct option_desc *d = option_table; d->name; d++) {
        g_ptr_array_add(names, g_strdup_printf("-%s", d->name));
    }
    g_autofree char *near = error_nearest(asked, (const char *const *)names->pdata, names->len);
    return error_set(err, HANOK_ERROR_INVALID,
                     "there is no option '%s'; did you mean %s? -help lists all.", typed, near);
}

static bool handle(struct vm_options *o, const struct option_desc *d, const char *arg, GError **err)
{
    if (d->refuse) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "-%s %s.", d->name, d->refuse);
    }
    if (d->warn) {
        log_warning("-%s %s.", d->name, d->warn);
        return true;
    }
    if (!d->handle(o, arg, err)) {
        g_autofree char *own = g_strdup_printf("-%s ", d->name);
        if (!err || !g_str_has_prefix((*err)->message, own)) {
            g_prefix_error(err, "-%s: ", d->name);
        }
        return false;
    }
    return true;
}

static bool parse_all(struct vm_options *o, int argc, char *const *argv, GError **err)
{
    for (int i = 1; i < argc && !o->answer; i++) {
        const char *word = argv[i], *arg = NULL;
        if (*word != '-') {
            if (!opt_hda(o, word, err)) {
                g_prefix_error(err, "'%s': ", word);
                return false;
            }
            continue;
        }
        const char *name = word[1] == '-' ? word + 2 : word + 1;
        const struct option_desc *d = find_option(name);
        if (!d) {
            return unknown_option(word, name, err);
        }
        if (d->arg == ARG_TEXT && i + 1 >= argc) {
            return error_set(err, HANOK_ERROR_INVALID, "%s needs a value%s%s.", word,
                             d->form ? ": " : "", d->form ? d->form : "");
        }
        if (d->arg == ARG_TEXT) {
            arg = argv[++i];
        }
        if (arg && !g_utf8_validate(arg, -1, NULL)) {
            return error_set(err, HANOK_ERROR_INVALID, "The value of %s is not valid UTF-8 text.",
                             word);
        }
        if (!handle(o, d, arg, err)) {
            return false;
        }
    }
    return true;
}

static void monitor_spec_free(void *p)
{
    struct monitor_spec *m = p;
    g_free(m->chardev);
    g_free(m->spec);
    g_free(m);
}

struct vm_options *vm_options_parse(int argc, char *const *argv, GError **err)
{
    struct vm_options *o = g_new0(struct vm_options, 1);
    o->cfg = vm_config_new();
    o->monitors = g_ptr_array_new_with_free_func(monitor_spec_free);
    o->traces = g_ptr_array_new_with_free_func(g_free);
    o->drive_hints = g_ptr_array_new_with_free_func((GDestroyNotify)props_free);
    if (!parse_all(o, argc, argv, err) || !finish_compat_net(o, err)) {
        vm_options_free(o);
        return NULL;
    }
    finish_drives(o);
    if (!o->answer) {
        apply_defaults(o);
    }
    finish_devices(o);
    return o;
}

void vm_options_free(struct vm_options *o)
{
    if (!o) {
        return;
    }
    vm_config_free(o->cfg);
    g_ptr_array_unref(o->monitors);
    g_ptr_array_unref(o->traces);
    g_ptr_array_unref(o->drive_hints);
    props_free(o->compat_nic);
    g_free(o->compat_backend);
    g_free(o->pidfile);
    g_free(o->log_file);
    g_free(o->process_name);
    g_free(o->incoming);
    g_free(o->loadvm);
    g_free(o->qtest);
    g_free(o->answer);
    g_free(o);
}

bool vm_options_accel_was_given(const struct vm_options *o)
{
    return o->accel_option || o->machine_accel;
}

/* ---- helpers of the handlers ---- */

bool append_props(GPtrArray *list, const char *arg, const char *implied, GError **err)
{
    struct props *p = props_parse(arg, implied, err);
    if (!p) {
        return false;
    }
    g_ptr_array_add(list, p);
    return true;
}

bool wants_help(const char *arg)
{
    return !strcmp(arg, "help") || !strcmp(arg, "?");
}

bool answer(struct vm_options *o, char *text)
{
    g_free(o->answer);
    o->answer = text;
    return true;
}

bool props_pick(struct props *p, const char *key, const char *const *names, unsigned *out,
                GError **err)
{
    return props_get_enum(p, key, names, out, err);
}

bool add_device(struct vm_options *o, json_t *obj_stolen)
{
    g_ptr_array_add(o->cfg->devices, props_from_json(obj_stolen));
    json_decref(obj_stolen);
    return true;
}

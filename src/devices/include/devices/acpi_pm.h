/* acpi_pm.h - the power-management block of the ICH9 (PM1, PM timer, GPE0, SMI registers, TCO) or
 * of the PIIX4 (PM1, PM timer, a 16-bit GPE0), and the APM ports 0xb2/0xb3.
 *
 * A PCI function (the LPC bridge, the PIIX4's third) says where the block lies and which GSI is the
 * SCI.  Writing ACPI_ENABLE/ACPI_DISABLE to the SMI command port sets and clears SCI_EN at once, as
 * the firmware's SMI handler would; where there is SMM and firmware has enabled it, a write there
 * is an SMI as well.  There is no other source of SMIs.  When the ICH9's TCO watchdog has timed out
 * twice without a reload, and NO_REBOOT is clear, the board is told.
 *
 * Threads: registers under the board lock; timers in the main thread.
 * Spec:    Intel ICH9 data sheet §13.8, §13.9; 82371AB (PIIX4) §7.2; ACPI 6.4 §4.8. */
#ifndef DEVICES_ACPI_PM_H
#define DEVICES_ACPI_PM_H

#include "bus/device.h"
#include "devices/board.h"

#define ACPI_PM_BLOCK_BYTES   128  /* the PIIX4's has half of that */
#define ACPI_PM_OFF_PM1_EVT   0x00 /* 4 bytes */
#define ACPI_PM_OFF_PM1_CNT   0x04 /* 2 bytes */
#define ACPI_PM_OFF_TMR       0x08 /* 4 bytes, 3.579545 MHz */
#define ACPI_PM_OFF_GPE0      0x20 /* 16 bytes: 8 status, 8 enable */
#define ACPI_PM_OFF_GPE_PIIX4 0x0c /* 4 bytes: 2 status, 2 enable */
#define ACPI_PM_OFF_SMI_EN    0x30
#define ACPI_PM_OFF_SMI_STS   0x34
#define ACPI_PM_OFF_TCO       0x60 /* 32 bytes */
#define ACPI_PM_SMI_CMD       0xb2
#define ACPI_PM_CMD_ENABLE    0x02 /* FADT ACPI_ENABLE */
#define ACPI_PM_CMD_DISABLE   0x03 /* FADT ACPI_DISABLE */
#define ACPI_PM_SLP_TYP_S5    0    /* \_S5 package */
#define ACPI_PM_SLP_TYP_S3    1    /* \_S3 package */
#define ACPI_PM_SLP_TYP_S4    2    /* \_S4 package */

struct acpi_pm;
struct io_space;
struct irqchip;
struct vm_clock;

enum acpi_pm_model { ACPI_PM_ICH9, ACPI_PM_PIIX4 };

struct acpi_pm *acpi_pm_new(struct device_list *devices, struct io_space *pio,
                            struct irqchip *irqchip, struct vm_clock *clock,
                            const struct board_requests *req, enum acpi_pm_model model);
/* Base and enable bit of the function's registers; base is aligned to the block's size. */
void acpi_pm_map(struct acpi_pm *p, uint16_t base, bool enabled);
/* Where the block lies now; 0: nowhere. */
uint16_t acpi_pm_base(const struct acpi_pm *p);
/* SCI_IRQ_SEL of ACPI_CNTL: 9, 10, 11, 20 or 21. */
void acpi_pm_set_sci(struct acpi_pm *p, unsigned gsi);
/* NO_REBOOT of the chip set's general control; set at first. */
void acpi_pm_no_reboot(struct acpi_pm *p, bool on);
/* SMI_LOCK of the general power management: the global SMI enable can no longer be cleared. */
void acpi_pm_smi_lock(struct acpi_pm *p, bool on);
/* Board lock held. */
void acpi_pm_power_button(struct acpi_pm *p);
void acpi_pm_gpe_raise(struct acpi_pm *p, unsigned bit); /* sets GPE0 status bit 0..63 (15) */
void acpi_pm_rtc_alarm(struct acpi_pm *p);               /* RTC_STS; wakes from S3 when enabled */
void acpi_pm_woke(struct acpi_pm *p);                    /* leaving S3: WAK_STS */
bool acpi_pm_wake_allowed(const struct acpi_pm *p);      /* an enabled wake event is pending */

#endif

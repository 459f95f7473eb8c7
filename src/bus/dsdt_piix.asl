/* dsdt_piix.asl - what is the same on every i440FX board; the rest is in the SSDT, as for the q35. */
DefinitionBlock ("dsdt_piix.aml", "DSDT", 2, "HANOK ", "HANOKVM ", 0x00000001)
{
    External (\_SB.PCI0.M32B, IntObj)   // 32-bit window: first and last address
    External (\_SB.PCI0.M32L, IntObj)
    External (\_SB.PCI0.M64B, IntObj)   // 64-bit window; last 0: none
    External (\_SB.PCI0.M64L, IntObj)
    External (\_SB.PCI0.PRTP, PkgObj)   // routing through the links
    External (\_SB.HPEN, IntObj)        // HPET present
    External (\_SB.COMM, IntObj)        // bit n: COM(n+1) present
    External (\_SB.CPUS.CTFY, MethodObj) // Notify (processor Arg0, Arg1)

    Name (_S5, Package (4) { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)

            /* The links lead to the 8259 and to the IOAPIC pins of the same numbers. */
            Method (_PRT, 0) { Return (PRTP) }

            Include ("dsdt_windows.asl")

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)
                Field (PIRQ, ByteAcc, NoLock, Preserve) { PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8 }

                Include ("dsdt_isa.asl")
            }
        }

        Include ("dsdt_board.asl")
        Include ("dsdt_cpus.asl")

        /* Ports of the board that no driver may take. */
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0092, 0x0092, 1, 1)
                IO (Decode16, 0x00B2, 0x00B2, 1, 2)
                IO (Decode16, 0x0600, 0x0600, 1, 0x40)
                IO (Decode16, 0x0CD8, 0x0CD8, 1, 0x0C)
                IO (Decode16, 0x0700, 0x0700, 1, 0x10)
            })
        }
    }

    Scope (\_GPE)
    {
        Method (_E02, 0) { \_SB.CPUS.CSCN () }
    }
}

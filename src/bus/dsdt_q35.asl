/* dsdt_q35.asl - what is the same on every q35 board.  What depends on the machine (windows, _PRT,
 * serial ports present, sleep states, CPUs) is in the SSDT that acpi_ssdt.c writes. */
DefinitionBlock ("dsdt_q35.aml", "DSDT", 2, "HANOK ", "HANOKVM ", 0x00000001)
{
    External (\_SB.PCI0.M32B, IntObj)   // 32-bit window: first and last address
    External (\_SB.PCI0.M32L, IntObj)
    External (\_SB.PCI0.M64B, IntObj)   // 64-bit window; last 0: none
    External (\_SB.PCI0.M64L, IntObj)
    External (\_SB.PCI0.PRTP, PkgObj)   // routing through the links (8259)
    External (\_SB.PCI0.PRTA, PkgObj)   // routing to IOAPIC pins
    External (\_SB.ECMB, IntObj)        // ECAM base and bytes
    External (\_SB.ECML, IntObj)
    External (\_SB.HPEN, IntObj)        // HPET present
    External (\_SB.COMM, IntObj)        // bit n: COM(n+1) present
    External (\_SB.CPUS.CTFY, MethodObj) // Notify (processor Arg0, Arg1)

    Name (PICM, 0)
    Method (_PIC, 1) { PICM = Arg0 }

    Name (_S5, Package (4) { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)

            Method (_PRT, 0)
            {
                If (PICM) { Return (PRTA) }
                Return (PRTP)
            }

            /* PCI Firmware 3.2, 4.5: the OS gets native hot-plug (0), PME (2), AER (3) and the
             * PCIe capability (4); SHPC (1) does not exist here. */
            Method (_OSC, 4)
            {
                CreateDWordField (Arg3, 0, CDW1)
                If (Arg0 != ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))
                {
                    CDW1 |= 4
                    Return (Arg3)
                }
                CreateDWordField (Arg3, 8, CDW3)
                Local0 = CDW3 & 0x1D
                If (Arg1 != 1) { CDW1 |= 8 }
                If (CDW3 != Local0) { CDW1 |= 0x10 }
                CDW3 = Local0
                Return (Arg3)
            }

            Include ("dsdt_windows.asl")

            Device (ISA)
            {
                Name (_ADR, 0x001F0000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x0C)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8,
                    Offset (8),
                    PRQE, 8, PRQF, 8, PRQG, 8, PRQH, 8
                }

                Include ("dsdt_isa.asl")
            }
        }

        Include ("dsdt_board.asl")
        Include ("dsdt_cpus.asl")

        /* Ports and memory of the board that no driver may take. */
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 1)
            Name (MCRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0092, 0x0092, 1, 1)
                IO (Decode16, 0x00B2, 0x00B2, 1, 2)
                IO (Decode16, 0x0600, 0x0600, 1, 0x80)
                IO (Decode16, 0x0CD8, 0x0CD8, 1, 0x0C)
                Memory32Fixed (ReadWrite, 0xB0000000, 0x10000000, ECAM)
                Memory32Fixed (ReadWrite, 0xFED1C000, 0x00004000)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (MCRS, \_SB.MBRD.ECAM._BAS, EBAS)
                CreateDWordField (MCRS, \_SB.MBRD.ECAM._LEN, ELEN)
                EBAS = ECMB
                ELEN = ECML
                Return (MCRS)
            }
        }

        Device (LNKE)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 4)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQE)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQE |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQE)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQE = LSRS (Arg0) }
        }
        Device (LNKF)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 5)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQF)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQF |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQF)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQF = LSRS (Arg0) }
        }
        Device (LNKG)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 6)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQG)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQG |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQG)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQG = LSRS (Arg0) }
        }
        Device (LNKH)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 7)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQH)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQH |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQH)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQH = LSRS (Arg0) }
        }
    }

    Scope (\_GPE)
    {
        Method (_E02, 0) { \_SB.CPUS.CSCN () }
    }
}

/* dsdt.asl - what is the same on every q35 board.  What depends on the machine (windows, _PRT,
 * serial ports present, sleep states, CPUs) is in the SSDT that acpi_ssdt.c writes. */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "HANOK ", "HANOKVM ", 0x00000001)
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

            Name (CR32, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0xFF, 0, 0x100)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0000, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0x000A0000, 0x000BFFFF, 0, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite, 0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000, , , PW32)
            })
            Name (CR64, ResourceTemplate ()
            {
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0x800000000, 0xFFFFFFFFF, 0, 0x800000000, , , PW64)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (CR32, \_SB.PCI0.PW32._MIN, P3MN)
                CreateDWordField (CR32, \_SB.PCI0.PW32._MAX, P3MX)
                CreateDWordField (CR32, \_SB.PCI0.PW32._LEN, P3LN)
                P3MN = M32B
                P3MX = M32L
                P3LN = M32L - M32B + 1
                If (M64L == 0) { Return (CR32) }
                CreateQWordField (CR64, \_SB.PCI0.PW64._MIN, P6MN)
                CreateQWordField (CR64, \_SB.PCI0.PW64._MAX, P6MX)
                CreateQWordField (CR64, \_SB.PCI0.PW64._LEN, P6LN)
                P6MN = M64B
                P6MX = M64L
                P6LN = M64L - M64B + 1
                ConcatenateResTemplate (CR32, CR64, Local0)
                Return (Local0)
            }

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

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 1, 8)
                        IRQNoFlags () {8}
                    })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 1, 1)
                        IO (Decode16, 0x0064, 0x0064, 1, 1)
                        IRQNoFlags () {1}
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate () { IRQNoFlags () {12} })
                }
                Device (PIT)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 1, 4)
                        IRQNoFlags () {0}
                    })
                }
                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 1, 2)
                        IO (Decode16, 0x00A0, 0x00A0, 1, 2)
                        IO (Decode16, 0x04D0, 0x04D0, 1, 2)
                        IRQNoFlags () {2}
                    })
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Method (_STA, 0) { If (COMM & 1) { Return (0x0F) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                        IRQNoFlags () {4}
                    })
                }
                Device (COM2)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 2)
                    Method (_STA, 0) { If (COMM & 2) { Return (0x0F) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x02F8, 0x02F8, 1, 8)
                        IRQNoFlags () {3}
                    })
                }
                Device (COM3)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 3)
                    Method (_STA, 0) { If (COMM & 4) { Return (0x0F) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03E8, 0x03E8, 1, 8)
                        IRQNoFlags () {4}
                    })
                }
                Device (COM4)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 4)
                    Method (_STA, 0) { If (COMM & 8) { Return (0x0F) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x02E8, 0x02E8, 1, 8)
                        IRQNoFlags () {3}
                    })
                }
            }
        }

        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, 0)
            Method (_STA, 0) { If (HPEN) { Return (0x0F) } Return (0) }
            Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400) })
        }

        /* The interface by which guests read what the machine's owner passes them; the name is the
         * one its drivers look for. */
        Device (FWCF)
        {
            Name (_HID, "QEMU0002")
            Name (_STA, 0x0B)
            Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0510, 0x0510, 1, 0x0C) })
        }

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

        /* Processors that come and go; the registers are those of devices/cpu_hotplug.c. */
        Device (CPUS)
        {
            Name (_HID, "ACPI0010")
            Name (_CID, EisaId ("PNP0A05"))
            OperationRegion (HPRG, SystemIO, 0x0CD8, 0x0C)
            Field (HPRG, ByteAcc, NoLock, WriteAsZeros)
            {
                Offset (4),
                CPEN, 1, CINS, 1, CRMV, 1, CEJC, 1,
                Offset (5),
                CCMD, 8
            }
            Field (HPRG, DWordAcc, NoLock, Preserve)
            {
                CSEL, 32,
                Offset (8),
                CDAT, 32
            }
            Mutex (CPLK, 0)
            Method (CSTA, 1, Serialized)
            {
                Acquire (CPLK, 0xFFFF)
                CSEL = Arg0
                Local0 = 0
                If (CPEN) { Local0 = 0x0F }
                Release (CPLK)
                Return (Local0)
            }
            Method (CEJ0, 1, Serialized)
            {
                Acquire (CPLK, 0xFFFF)
                CSEL = Arg0
                CEJC = 1
                Release (CPLK)
            }
            Method (COST, 4, Serialized)
            {
                Acquire (CPLK, 0xFFFF)
                CSEL = Arg0
                CCMD = 1
                CDAT = Arg1
                CCMD = 2
                CDAT = Arg2
                Release (CPLK)
            }
            /* Tells the OS of every processor that has something to tell. */
            Method (CSCN, 0, Serialized)
            {
                Acquire (CPLK, 0xFFFF)
                Local0 = 1
                While (Local0)
                {
                    Local0 = 0
                    CCMD = 0
                    If (CINS)
                    {
                        CTFY (CDAT, 1)
                        CINS = 1
                        Local0 = 1
                    }
                    ElseIf (CRMV)
                    {
                        CTFY (CDAT, 3)
                        CRMV = 1
                        Local0 = 1
                    }
                }
                Release (CPLK)
            }
        }

        /* PIRQ links.  The registers: bit 7 off, 3:0 the ISA irq (ICH9 13.1.13). */
        Name (LPRS, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 }
        })
        Method (LSTA, 1) { If (Arg0 & 0x80) { Return (0x09) } Return (0x0B) }
        Name (LBUF, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, , , CINT) { 0 }
        })
        Method (LCRS, 1, Serialized)
        {
            CreateDWordField (LBUF, \_SB.CINT._INT, LIRQ)
            LIRQ = Arg0 & 0x0F
            Return (LBUF)
        }
        Method (LSRS, 1)
        {
            CreateDWordField (Arg0, 5, LIRQ)
            Return (LIRQ & 0x0F)
        }
        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQA)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQA |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQA)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQA = LSRS (Arg0) }
        }
        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 1)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQB)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQB |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQB)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQB = LSRS (Arg0) }
        }
        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 2)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQC)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQC |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQC)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQC = LSRS (Arg0) }
        }
        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 3)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQD)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQD |= 0x80 }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQD)) }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQD = LSRS (Arg0) }
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

/* dsdt_links.asl - the first four interrupt links of boards with PCI; part of \_SB. */
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

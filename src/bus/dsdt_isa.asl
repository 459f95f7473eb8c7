/* dsdt_isa.asl - the ISA devices every PC has; part of the ISA bridge. */
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

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
Include ("dsdt_serial.asl")

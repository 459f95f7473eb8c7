/* dsdt_serial.asl - serial ports; \_SB.COMM says which are there. */
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

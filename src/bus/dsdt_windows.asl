/* dsdt_windows.asl - the host bridge's resources; part of PCI0. */
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

/* dsdt_cpus.asl - processors that come and go; part of \_SB.  The registers are those of
 * devices/cpu_hotplug.c. */
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

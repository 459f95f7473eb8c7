/* dsdt_microvm.asl - what is the same on every board without PCI; the virtio devices are in the SSDT. */
DefinitionBlock ("dsdt_microvm.aml", "DSDT", 2, "HANOK ", "HANOKVM ", 0x00000001)
{
    External (\_SB.COMM, IntObj)        // bit n: COM(n+1) present
    External (\_SB.CPUS.CTFY, MethodObj) // Notify (processor Arg0, Arg1)

    Name (_S5, Package (4) { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Include ("dsdt_serial.asl")
        Include ("dsdt_fw_cfg.asl")
        Include ("dsdt_cpus.asl")

        /* Ports of the board that no driver may take. */
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x00B2, 0x00B2, 1, 2)
                IO (Decode16, 0x0600, 0x0600, 1, 0x80)
                IO (Decode16, 0x0CD8, 0x0CD8, 1, 0x0C)
            })
        }
    }

    Scope (\_GPE)
    {
        Method (_E02, 0) { \_SB.CPUS.CSCN () }
    }
}

/* dsdt_board.asl - what lies on boards with PCI beside that bus: HPET, fw_cfg, links; part of \_SB. */
Device (HPET)
{
    Name (_HID, EisaId ("PNP0103"))
    Name (_UID, 0)
    Method (_STA, 0) { If (HPEN) { Return (0x0F) } Return (0) }
    Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400) })
}

Include ("dsdt_fw_cfg.asl")
Include ("dsdt_links.asl")

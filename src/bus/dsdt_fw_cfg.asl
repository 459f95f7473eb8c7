/* dsdt_fw_cfg.asl - part of \_SB. */
/* The interface by which guests read what the machine's owner passes them; the name is the
 * one its drivers look for. */
Device (FWCF)
{
    Name (_HID, "QEMU0002")
    Name (_STA, 0x0B)
    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0510, 0x0510, 1, 0x0C) })
}

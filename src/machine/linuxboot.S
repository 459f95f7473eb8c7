/* linuxboot.S - the option ROM that starts a kernel given by -kernel under a BIOS.
 *
 * The BIOS calls the bootstrap entry like any boot device's.  Setup code, command line, kernel and
 * initrd come from fw_cfg by DMA, straight to where the items say; the setup header is filled in as
 * a boot loader does (Documentation/arch/x86/boot.rst of the kernel), and its real-mode code is
 * entered.  firmware.c fills in the two checksums.
 *
 * Real mode, 16 bits; no address of this file is used but as an offset in the ROM.
 * Formats: PnP BIOS 1.0A §3 (header), SeaBIOS "genroms/". */

#define AT(label)   (label - linuxboot_rom)
#define SCRATCH_SEG 0x3000 /* behind setup code and command line, and what the loaders use */
#define SCRATCH_BE  0x00000300 /* its address as the DMA register wants it */
#define DMA_CONTROL 0
#define DMA_LENGTH  4
#define DMA_ADDRESS 8
#define VALUE       16
#define VALUE_GPA   0x30010
#define TOP         24 /* end of memory that may hold the initrd */
#define STACK_TOP   0x8000
#define HEAP_END    0xe000 /* in the setup code's segment */

/* fw_cfg items */
#define KERNEL_ADDR  0x07
#define KERNEL_SIZE  0x08
#define INITRD_SIZE  0x0b
#define KERNEL_DATA  0x11
#define INITRD_DATA  0x12
#define CMDLINE_ADDR 0x13
#define CMDLINE_SIZE 0x14
#define CMDLINE_DATA 0x15
#define SETUP_ADDR   0x16
#define SETUP_SIZE   0x17
#define SETUP_DATA   0x18

/* setup header */
#define TYPE_OF_LOADER 0x210
#define LOADFLAGS      0x211
#define RAMDISK_IMAGE  0x218
#define RAMDISK_SIZE   0x21c
#define HEAP_END_PTR   0x224
#define CMD_LINE_PTR   0x228
#define INITRD_MAX     0x22c

    .section .rodata
    .balign 16
    .globl linuxboot_rom, linuxboot_rom_end, linuxboot_pnp
    .code16
linuxboot_rom:
    .word 0xaa55
    .byte AT(linuxboot_rom_end) / 512
    lret /* the ROM's initialisation: nothing to do */
    .org linuxboot_rom + 0x06
    .byte 0 /* makes the sum zero */
    .org linuxboot_rom + 0x1a
    .word AT(linuxboot_pnp)

    .balign 16
linuxboot_pnp:
    .ascii "$PnP"
    .byte 1, 2 /* version, 16-byte units */
    .word 0
    .byte 0, 0 /* the second: makes the sum zero */
    .long 0
    .word AT(maker), AT(product)
    .byte 0, 0, 0 /* device type: none of the known ones */
    .byte 0
    .word 0, 0, AT(bootstrap), 0, 0
maker:
    .asciz "Hanok"
product:
    .asciz "Linux kernel"

bootstrap:
    cld
    mov $SCRATCH_SEG, %ax
    cli
    mov %ax, %ds
    mov %ax, %ss
    mov $STACK_TOP, %sp
    sti
    mov $SETUP_ADDR, %si
    call load
    mov %edi, %eax
    shr $4, %eax
    mov %ax, %es
    mov $CMDLINE_ADDR, %si
    call load
    mov %edi, %es:CMD_LINE_PTR
    mov $KERNEL_ADDR, %si
    call load
    movb $0xff, %es:TYPE_OF_LOADER /* no registered number */
    orb $0x80, %es:LOADFLAGS       /* there is a heap */
    movw $(HEAP_END - 0x200), %es:HEAP_END_PTR
    call initrd
    cli
    mov %es, %ax
    mov %ax, %ds
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov $HEAP_END, %sp
    add $0x20, %ax
    push %ax
    push $0
    lret

/* The initrd as high as it may go, page by page. */
initrd:
    mov $INITRD_SIZE, %ax
    call value
    mov %eax, %es:RAMDISK_SIZE
    test %eax, %eax
    jz 3f
    push %es
    xor %cx, %cx
    xor %dx, %dx
    mov $0xe801, %ax
    int $0x15
    pop %es
    jcxz 1f
    mov %cx, %ax /* KiB above 1 MiB, 64 KiB above 16 MiB */
    mov %dx, %bx
1:  movzwl %bx, %ebx
    movzwl %ax, %eax
    shl $10, %eax
    add $0x100000, %eax
    test %ebx, %ebx
    jz 2f
    shl $16, %ebx
    lea 0x1000000(%ebx), %eax
2:  mov %eax, TOP
    mov %es:INITRD_MAX, %edi
    inc %edi
    jz 2f /* anywhere below 4 GiB */
    cmp %eax, %edi
    jb 4f
2:  mov TOP, %edi
4:  mov %es:RAMDISK_SIZE, %ecx
    sub %ecx, %edi
    and $0xfffff000, %edi
    mov %edi, %es:RAMDISK_IMAGE
    mov $INITRD_DATA, %ax
    call fetch
3:  ret

/* Setup code, command line or kernel: item si says where, the next one how much.  Leaves the place
 * in edi. */
load:
    mov %si, %ax
    call value
    mov %eax, %edi
    mov %si, %ax
    inc %ax
    call value
    mov %eax, %ecx
    mov $SETUP_DATA, %ax
    cmp $SETUP_ADDR, %si
    je fetch
    mov $CMDLINE_DATA, %ax
    cmp $CMDLINE_ADDR, %si
    je fetch
    mov $KERNEL_DATA, %ax
    jmp fetch

/* eax: the number in item ax. */
value:
    push %edi
    mov $VALUE_GPA, %edi
    mov $4, %ecx
    call fetch
    pop %edi
    mov VALUE, %eax
    ret

/* ecx bytes of item ax to address edi. */
fetch:
    shl $16, %eax
    or $0x0a, %eax /* select, read */
    bswap %eax
    mov %eax, DMA_CONTROL
    bswap %ecx
    mov %ecx, DMA_LENGTH
    movl $0, DMA_ADDRESS
    mov %edi, %eax
    bswap %eax
    mov %eax, DMA_ADDRESS + 4
    mov $SCRATCH_BE, %eax
    mov $0x518, %dx
    out %eax, %dx
1:  mov DMA_CONTROL, %eax
    test $0x01000000, %eax
    jnz 2f
    test %eax, %eax
    jnz 1b
    ret
2:  int $0x18 /* the BIOS goes on to the next boot device */
    .balign 512
linuxboot_rom_end:
    .code64
    .section .note.GNU-stack, "", @progbits

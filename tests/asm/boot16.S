/* boot16.S - multiboot entry, back to real mode, interrupts as firmware left them. */
    .section .note.GNU-stack, "", @progbits
    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl start
start:
    cli
    mov $0x7ff0, %esp
    mov %eax, boot_magic
    mov %ebx, boot_info
    lgdt boot_gdtr
    ljmp $8, $1f
    .code16
1:  mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov %cr0, %eax
    and $~1, %eax
    mov %eax, %cr0
    ljmp $0, $2f
2:  xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov $0x7ff0, %esp
    lidtl real_idtr
    calll real_main
3:  cli
    hlt
    jmp 3b

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00009b000000ffff, 0x000093000000ffff
boot_gdtr:
    .word 23
    .long boot_gdt
real_idtr:
    .word 0x3ff
    .long 0
    .globl boot_magic, boot_info
boot_magic: .long 0
boot_info: .long 0

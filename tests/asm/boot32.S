/* boot32.S - multiboot entry, 32-bit protected mode without paging, exception stubs. */
    .section .note.GNU-stack, "", @progbits
    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl start
start:
    cli
    mov $stack_top, %esp
    mov %eax, boot_magic
    mov %ebx, boot_info
    lgdt boot_gdtr
    ljmp $8, $1f
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    call guest_start

    .align 16
    .globl stubs
stubs:
    .set i, 0
    .rept 256
    .align 16
    .if !((i == 8) || ((i >= 10) && (i <= 14)) || (i == 17) || (i == 21))
    push $0
    .endif
    push $i
    jmp stub_common
    .set i, i+1
    .endr

/* The handlers' data segments: a fault in ring 3 or virtual-8086 mode leaves others behind. */
stub_common:
    pusha
    push %ds
    push %es
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    lea 8(%esp), %eax
    cld
    push %eax
    call exception
    pop %eax
    pop %es
    pop %ds
    popa
    add $8, %esp
    iret

    .globl run_user
run_user:
    mov 4(%esp), %eax
    push %ebx
    push %ebp
    push %esi
    push %edi
    mov %esp, user_return_sp
    mov $0x23, %ecx
    mov %ecx, %ds
    mov %ecx, %es
    push $0x23
    push $user_stack_top
    pushf
    push $0x1b
    push %eax
    iret
    .globl user_return
user_return:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov user_return_sp, %esp
    mov %eax, %ss
    pop %edi
    pop %esi
    pop %ebp
    pop %ebx
    ret

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
    .word 23
    .long boot_gdt
    .globl user_return_sp, boot_magic, boot_info
user_return_sp: .long 0
boot_magic: .long 0
boot_info: .long 0
    .bss
    .align 4096
    .globl stack_top, user_stack_top
    .skip 16384
stack_top:
    .skip 4096
user_stack_top:

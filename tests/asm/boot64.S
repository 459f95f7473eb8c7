/* boot64.S - multiboot entry to 64-bit mode: first 4 GiB identity-mapped by 2 MiB pages, exception
 * stubs for all vectors. */
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
    mov $pml4, %edi
    movl $(pdpt + 7), (%edi)
    mov $pdpt, %edi
    mov $(pd + 7), %eax
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $8, %edi
    add $4096, %eax
    loop 1b
    mov $pd, %edi
    mov $0x87, %eax
    mov $2048, %ecx
2:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    loop 2b
    lgdt boot_gdtr
    call enable_long
    ljmp $8, $start64

    .globl enable_long
enable_long:
    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x901, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    ret

    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    mov $stack_top, %rsp
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

stub_common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    cld
    call exception
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

/* run_user(fn): saves the callee-saved registers and the stack, goes to ring 3. */
    .globl run_user
run_user:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_return_sp
    push $0x23
    push $user_stack_top
    pushfq
    push $0x1b
    push %rdi
    iretq
    .globl user_return
user_return:
    mov user_return_sp, %rsp
    mov $0x10, %eax
    mov %eax, %ss
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
    .word 23
    .long boot_gdt
    .globl user_return_sp, boot_magic, boot_info
user_return_sp: .quad 0
boot_magic: .long 0
boot_info: .long 0
    .bss
    .align 4096
    .globl pml4, pdpt, pd
pml4: .skip 4096
pdpt: .skip 4096
pd:   .skip 16384
    .globl stack_top, user_stack_top
    .skip 16384
stack_top:
    .skip 4096
user_stack_top:

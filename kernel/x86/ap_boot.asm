; Where the other processors begin: copied to TRAMPOLINE_ADDRESS, entered there in real mode by a start-up IPI
; (kernel/x86/smp.py), with CS:IP = TRAMPOLINE_ADDRESS >> 4 : 0. One processor at a time.
%from kernel.x86.memlayout import TRAMPOLINE_ADDRESS
%from kernel.x86.bits import *

.global ap_trampoline_start, ap_trampoline_end
.extern boot_l4_phys, core_l4, ap_stack_end, start_ap

.section .boot, "awx"
.code16
.align 16
ap_trampoline_start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    lgdt [ap_gdt_pointer - ap_trampoline_start]
    mov eax, {CR0_PE | CR0_ET}
    mov cr0, eax
    ljmp32 0x10, ap_start32 - ap_trampoline_start + {TRAMPOLINE_ADDRESS}

.code32
ap_start32:
    mov eax, 0x18
    mov ds, eax
    mov ss, eax
    mov eax, {CR4_PAE}
    mov cr4, eax
    mov eax, boot_l4_phys
    mov cr3, eax
    mov ecx, {MSR_EFER}
    mov eax, {EFER_SCE | EFER_LME | EFER_NXE}
    xor edx, edx
    wrmsr
    mov eax, {CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG}
    mov cr0, eax
    ljmp 0x08, ap_start64 - ap_trampoline_start + {TRAMPOLINE_ADDRESS}

.code64
ap_start64:
    movabs rax, ap_start_high
    jmp rax

.align 8
ap_gdt:
    .quad 0
    .quad 0x00af9a000000ffff                ; 0x08: ring 0 code, 64-bit
    .quad 0x00cf9a000000ffff                ; 0x10: ring 0 code, 32-bit
    .quad 0x00cf92000000ffff                ; 0x18: data
ap_gdt_end:
ap_gdt_pointer:
    .word ap_gdt_end - ap_gdt - 1
    .long ap_gdt - ap_trampoline_start + {TRAMPOLINE_ADDRESS}
ap_trampoline_end:

.section .text
ap_start_high:
    mov rax, [rip + core_l4]
    mov cr3, rax
    mov rsp, [rip + ap_stack_end]
    xor ebp, ebp
    call start_ap
.never:
    hlt
    jmp .never

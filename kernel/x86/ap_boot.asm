; Where the other processors begin: copied to a page of low memory, entered there in real mode by a start-up IPI
; (kernel/x86/smp.py), with CS:IP = page << 8 : 0. It finds out where it lies. One processor at a time.
%from kernel.x86.bits import *

.global ap_trampoline_start, ap_trampoline_end, ap_first_l4
.extern core_l4, ap_stack_end, start_ap

.section .boot, "awx"
.code16
.align 16
ap_trampoline_start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    movzx ebx, ax
    shl ebx, 4
    lea eax, [ebx + ap_gdt - ap_trampoline_start]
    mov [ap_gdt_pointer - ap_trampoline_start + 2], eax
    lea eax, [ebx + ap_start32 - ap_trampoline_start]
    mov [ap_jump - ap_trampoline_start + 2], eax
    lgdt [ap_gdt_pointer - ap_trampoline_start]
    mov eax, {CR0_PE | CR0_ET}
    mov cr0, eax
ap_jump:                                    ; two bytes, the address, the selector
    ljmp32 0x10, 0

.code32
ap_start32:
    mov eax, 0x18
    mov ds, eax
    mov ss, eax
    lea esp, [ebx + 4096]                   ; the end of the page
    mov eax, {CR4_PAE}
    mov cr4, eax
    mov eax, [ebx + ap_first_l4 - ap_trampoline_start]
    mov cr3, eax
    mov ecx, {MSR_EFER}
    mov eax, {EFER_SCE | EFER_LME | EFER_NXE}
    xor edx, edx
    wrmsr
    mov eax, {CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG}
    mov cr0, eax
    push 0x08
    lea eax, [ebx + ap_start64 - ap_trampoline_start]
    push eax
    retf

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
    .long 0
ap_first_l4:                                ; filled in by smp.py: boot_l4
    .long 0
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

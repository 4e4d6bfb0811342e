; From the boot loader to kernel Python: multiboot header, 32-bit trampoline, long mode, start_core.
;
; The loader enters at start32 with eax = 0x2badb002 and ebx = the machine address of the multiboot information, in flat
; 32-bit mode without paging. The tables made here map the first GiB of machine memory twice, at 0 and at IMAGE_VIRT_START;
; kernel/x86/paging.py replaces them. The names ending in _phys come from kernel.lds.
%from kernel.x86.memlayout import IMAGE_VIRT_START
%from kernel.x86.boot_area import BOOT_STACK_TOP, MULTIBOOT_HEADER_MAGIC, MULTIBOOT_BOOTLOADER_MAGIC
%from kernel.x86.bits import *
%FLAGS = 0x00010003     ; modules on page boundaries, memory map wanted, address fields present

.global multiboot_header, start32
.extern image_start_phys, load_end_phys, image_end_phys, multiboot_header_phys, start32_phys
.extern boot_l4_phys, boot_l3_identity_phys, boot_l3_core_phys, boot_l2_phys
.extern start_core

.section .boot, "awx"
.code32
.align 4
multiboot_header:
    .long {MULTIBOOT_HEADER_MAGIC}
    .long {FLAGS}
    .long {-(MULTIBOOT_HEADER_MAGIC + FLAGS) & 0xffffffff}
    .long multiboot_header_phys
    .long image_start_phys
    .long load_end_phys
    .long image_end_phys
    .long start32_phys

start32:
    cli
    cld
    cmp eax, {MULTIBOOT_BOOTLOADER_MAGIC}
    jne .not_multiboot
    mov ebp, ebx
    mov eax, 0x80000001
    cpuid
    test edx, {1 << 29}                     ; long mode
    jz .no_long_mode

    mov edi, boot_l2_phys                   ; 512 pages of 2 MiB
    mov eax, {PTE_PRESENT | PTE_WRITE | PTE_LARGE}
    mov ecx, 512
.next_large_page:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    dec ecx
    jnz .next_large_page

    mov eax, boot_l2_phys
    or eax, {PTE_PRESENT | PTE_WRITE}
    mov edi, boot_l3_identity_phys
    mov [edi], eax
    mov edi, boot_l3_core_phys
    mov [edi + {8 * ((IMAGE_VIRT_START >> 30) & 511)}], eax
    mov edi, boot_l4_phys
    mov eax, boot_l3_identity_phys
    or eax, {PTE_PRESENT | PTE_WRITE}
    mov [edi], eax
    mov eax, boot_l3_core_phys
    or eax, {PTE_PRESENT | PTE_WRITE}
    mov [edi + {8 * ((IMAGE_VIRT_START >> 39) & 511)}], eax

    mov cr3, edi
    mov eax, {CR4_PAE}
    mov cr4, eax
    mov ecx, {MSR_EFER}
    mov eax, {EFER_SCE | EFER_LME | EFER_NXE}
    xor edx, edx
    wrmsr
    mov eax, {CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG}
    mov cr0, eax
    mov eax, image_start_phys
    lgdt [eax + boot_gdt_pointer - multiboot_header]
    ljmp 0x08, start64 - multiboot_header + 0x100000

; Nothing can be printed yet but on the serial line, and by one letter.
.not_multiboot:
    mov al, 'M'
    jmp .stop
.no_long_mode:
    mov al, '3'
.stop:
    mov dx, 0x3f8
    out dx, al
.halt:
    hlt
    jmp .halt

.code64
start64:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    movabs rax, start_high
    jmp rax

.align 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff                ; 0x08: ring 0 code, 64-bit
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - multiboot_header + 0x100000

.section .text
start_high:
    lea rsp, [rip + boot_area + {BOOT_STACK_TOP}]
    mov edi, ebp
    xor ebp, ebp                            ; ends the chain of frame pointers
    call start_core
.never:
    hlt
    jmp .never

.section .bss.page_aligned, "awn"
.global boot_area, boot_l4
.align 0x10000
boot_area:                                  ; looks like a per-CPU area: this_cpu() works from the first line on
    .zero {BOOT_STACK_TOP}
boot_l4:
    .zero 4096
.global boot_l3_identity, boot_l3_core, boot_l2
boot_l3_identity:
    .zero 4096
boot_l3_core:
    .zero 4096
boot_l2:
    .zero 4096

; From the boot loader to kernel Python: multiboot headers, 32-bit trampoline, long mode, start_core.
;
; The loader enters at start32 with its magic number in eax and the machine address of its information in ebx, in flat 32-bit
; mode without paging. A multiboot2 loader may have put the image anywhere below 4 GiB: ebp is how far it lies from where it was
; linked, a multiple of 2 MiB. The tables made here map the first 4 GiB of machine memory at 0, and the GiB from ebp on at
; IMAGE_VIRT_START; kernel/x86/paging.py replaces them. The names ending in _phys come from kernel.lds.
%from kernel.x86.memlayout import IMAGE_VIRT_START
%from kernel.x86.boot_area import *
%from kernel.x86.bits import *
%FLAGS = 0x00010003     ; modules on page boundaries, memory map wanted, address fields present
%TAG_MEMORY_MAP = 6     ; of the loader's information
%EGA_TEXT = 2           ; the core can write on a text screen
%LOWEST = 1             ; of the places that would do
%TAGS = [
%   (HeaderTag.INFORMATION, 0, [TAG_MEMORY_MAP]),
%   (HeaderTag.ADDRESS, 0, ["multiboot2_header_phys", "image_start_phys", "load_end_phys", "image_end_phys"]),
%   (HeaderTag.ENTRY, 0, ["start32_phys"]),
%   (HeaderTag.CONSOLE, HeaderTag.OPTIONAL, [EGA_TEXT]),
%   (HeaderTag.FRAMEBUFFER, HeaderTag.OPTIONAL, [0, 0, 32]),
%   (HeaderTag.ALIGN, 0, []),
%   (HeaderTag.RELOCATABLE, 0, ["image_start_phys", LOAD_LIMIT, LOAD_ALIGNMENT, LOWEST]),
%   (HeaderTag.END, 0, []),
%]

.global multiboot_header, multiboot2_header, start32
.extern image_start_phys, load_end_phys, image_end_phys, multiboot_header_phys, multiboot2_header_phys, start32_phys
.extern boot_stack_phys, boot_l4_phys, boot_l3_identity_phys, boot_l3_core_phys, boot_l2_identity_phys, boot_l2_core_phys
.extern start_core

.section .boot, "awx"
.code32
.align 8
multiboot2_header:
    .long {MULTIBOOT2_HEADER_MAGIC}
    .long 0                                 ; i386, protected mode
%LENGTH = 16 + sum(8 + (4 * len(words) + 7) // 8 * 8 for _, _, words in TAGS)
    .long {LENGTH}
    .long {-(MULTIBOOT2_HEADER_MAGIC + LENGTH) & 0xffffffff}
%for kind, flag, words in TAGS:
    .long {kind | flag << 16}
    .long {8 + 4 * len(words)}
  %for word in words:
    .long {word}
  %end
    .align 8, 0
%end

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
    je .find_image
    cmp eax, {MULTIBOOT2_BOOTLOADER_MAGIC}
    jne .not_multiboot
.find_image:
    ; The second word of either kind of information is of no use to the core, so it is the stack for one call.
    lea esp, [ebx + 8]
    call .here
.here:
    pop ebp
    sub ebp, start32_phys + .here - start32
    lea esp, [ebp + boot_stack_phys]
    mov esi, eax
    push ebx                                ; cpuid takes the register
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb .no_long_mode
    mov eax, 0x80000001
    cpuid
    test edx, {1 << 29}                     ; long mode
    jz .no_long_mode
    pop ebx

    lea edi, [ebp + boot_l2_identity_phys]
    mov eax, {PTE_PRESENT | PTE_WRITE | PTE_LARGE}
    mov ecx, {EARLY_MAP_GIB * 512}
    call .map_large_pages
    lea edi, [ebp + boot_l2_core_phys]
    lea eax, [ebp + {PTE_PRESENT | PTE_WRITE | PTE_LARGE}]
    mov ecx, 512
    call .map_large_pages

%for i in range(EARLY_MAP_GIB):
    lea eax, [ebp + boot_l2_identity_phys + {4096 * i + (PTE_PRESENT | PTE_WRITE)}]
    mov [ebp + boot_l3_identity_phys + {8 * i}], eax
%end
    lea eax, [ebp + boot_l2_core_phys + {PTE_PRESENT | PTE_WRITE}]
    mov [ebp + boot_l3_core_phys + {8 * ((IMAGE_VIRT_START >> 30) & 511)}], eax
    lea edi, [ebp + boot_l4_phys]
    lea eax, [ebp + boot_l3_identity_phys + {PTE_PRESENT | PTE_WRITE}]
    mov [edi], eax
    lea eax, [ebp + boot_l3_core_phys + {PTE_PRESENT | PTE_WRITE}]
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
    add ebp, start32_phys                   ; start32, to find what is in this section
    lea eax, [ebp + boot_gdt - start32]
    mov [ebp + boot_gdt_pointer - start32 + 2], eax
    lgdt [ebp + boot_gdt_pointer - start32]
    push 0x08
    lea eax, [ebp + start64 - start32]
    push eax
    sub ebp, start32_phys
    retf

.map_large_pages:                           ; edi: tables, eax: the first entry, ecx: how many
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    dec ecx
    jnz .map_large_pages
    ret

; Nothing can be printed yet but by one letter: on the serial line, and where a text screen has its top left corner.
.not_multiboot:
    mov al, 'M'
    jmp .stop
.no_long_mode:
    mov al, '3'
.stop:
    mov dx, 0x3f8
    out dx, al
    mov ah, 0x4f                            ; white on red
    mov [{TEXT_SCREEN}], ax
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
    .long 0

.section .text
start_high:
    lea rsp, [rip + boot_area + {BOOT_STACK_TOP}]
    mov edi, esi                            ; the loader's magic number
    mov esi, ebx                            ; its information
    mov edx, ebp                            ; how far the image lies from where it was linked
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
.global boot_l3_identity, boot_l3_core, boot_l2_identity, boot_l2_core
boot_l3_identity:
    .zero 4096
boot_l3_core:
    .zero 4096
boot_l2_identity:
    .zero {EARLY_MAP_GIB * 4096}
boot_l2_core:
    .zero 4096

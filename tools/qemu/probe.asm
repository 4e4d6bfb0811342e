; A multiboot image that shows what QEMU's processor does wrong, on port 0xe9: "iret=G int=G", G good, B bad.
;
; iret: with SMAP, `iretq` in ring 3 reads its stack with a user's rights, so pages of the user can be read. QEMU 7.2's TCG takes
; the supervisor's, and raises #PF. int: `int n` in ring 3 through a gate of ring 0 raises #GP with the error code n * 8 + 2.
; All is in the first 2 MiB, which are mapped twice: for ring 0 at 0, for ring 3 at USER. Only addresses relative to the image are
; used, so nothing has to be linked.
%LOAD = 0x100000
%USER = 0x200000
%L4, L3, L2, IDT, TSS = 0x110000, 0x111000, 0x112000, 0x113000, 0x114000
%STACK, USER_STACK = 0x116000, 0x118000
%MAGIC, FLAGS = 0x1badb002, 0x00010000
%CR4_PAE, CR4_SMAP = 1 << 5, 1 << 21
%FORBIDDEN = 0x81       ; a vector whose gate is for ring 0
%ALLOWED = 0x80

.section .text, "awx"
.code32
image_start:
    .long {MAGIC}
    .long {FLAGS}
    .long {-(MAGIC + FLAGS) & 0xffffffff}
    .long {LOAD}                            ; of this header
    .long {LOAD}
    .long 0                                 ; to the end of the file
    .long {0x120000}
    .long {LOAD} + start32 - image_start
    .align 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff                ; 0x08 ring 0, code
    .quad 0x00cf92000000ffff                ; 0x10 ring 0, data
    .quad 0x00cff2000000ffff                ; 0x18 ring 3, data
    .quad 0x00affa000000ffff                ; 0x20 ring 3, code
    .quad {0x0000890000000067 | (TSS & 0xffffff) << 16}
    .quad 0
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long {LOAD} + gdt - image_start
idt_pointer:
    .word 0xfff
    .quad {IDT}

start32:
    cli
    mov esp, {STACK}
    mov dword ptr [{L4}], {L3 | 7}
    mov dword ptr [{L3}], {L2 | 7}
    mov dword ptr [{L2}], 0x83
    mov dword ptr [{L2 + 8}], 0x87
    mov eax, {CR4_PAE}
    mov cr4, eax
    mov eax, {L4}
    mov cr3, eax
    mov ecx, 0xc0000080
    mov eax, 0x100
    xor edx, edx
    wrmsr
    mov eax, 0x80000001
    mov cr0, eax
    lgdt [{LOAD} + gdt_pointer - image_start]
    ljmp 0x08, {LOAD} + start64 - image_start

.code64
start64:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, 7
    xor ecx, ecx
    cpuid
    test ebx, {1 << 20}
    jz .no_smap
    mov rax, cr4
    or rax, {CR4_SMAP}
    mov cr4, rax
.no_smap:
%for vector, handler, attributes in [(13, "protection", 0x8e), (14, "page_fault", 0x8e), (ALLOWED, "returned", 0xee), (FORBIDDEN, "forbidden", 0x8e)]:
    lea rax, [rip + {handler}]
    mov rdi, {IDT + 16 * vector}
    mov word ptr [rdi], ax
    mov dword ptr [rdi + 2], 0x08
    mov byte ptr [rdi + 5], {attributes}
    shr rax, 16
    mov word ptr [rdi + 6], ax
%end
    lidt [rip + idt_pointer]
    mov qword ptr [{TSS + 4}], {STACK}
    mov eax, 0x28
    ltr ax
    push 0x1b
    push {USER + USER_STACK}
    push 2
    push 0x23
    lea rax, [rip + ring3]
    add rax, {USER}
    push rax
    iretq

; Ring 3, at USER more than where it was loaded.
ring3:
    mov rbx, rsp
    push 0x1b
    push rbx
    push 2
    push 0x23
    lea rax, [rip + .after]
    push rax
    iretq
.after:
    int {ALLOWED}
.int_n:
    int {FORBIDDEN}

; Ring 0 again. Of the first test bl keeps the verdict.
page_fault:
    mov bl, 'B'
    add rsp, 8
    lea rax, [rip + .int_n_place]
    add rax, {USER}
    mov [rsp], rax
    mov rax, {USER + USER_STACK}
    mov [rsp + 24], rax
    iretq
.int_n_place:
    int {FORBIDDEN}
returned:
    mov bl, 'G'
    iretq
forbidden:
    mov bh, 'B'
    jmp report
protection:
    mov bh, 'G'
    cmp dword ptr [rsp], {FORBIDDEN * 8 + 2}
    je report
    mov bh, 'B'
report:
%for letter in "iret=\0 int=\1\n":
  %if letter == "\0":
    mov al, bl
  %elif letter == "\1":
    mov al, bh
  %else:
    mov al, {ord(letter)}
  %end
    out 0xe9, al
%end
    mov al, 0
    out 0xf4, al                            ; ends QEMU
.hang:
    hlt
    jmp .hang

; A PV kernel's notes to its loader, its first instructions, and every way in and out of it.
;
; A guest kernel runs in ring 3, its interrupts and page tables belong to the hypervisor. It asks by calling the hypercall page,
; which the loader fills, and is entered at the addresses that it registers: traps, and the event upcall.
%import abi
%from libos.layout import PAGE_SIZE, STACK_BYTES, GRANT_FRAMES, VIRT_BASE
%from libos.trap_vectors import HAS_ERROR_CODE, NR_TRAPS, VECTOR_upcall

; A note: length of the owner's name, length of the value, type, name, value.
%def note_text(kind, text):
    .long 4, {len(text) + 1}, {kind}
    .asciz "Xen"
    .asciz "{text}"
    .align 4
%end
%def note_number(kind, value):
    .long 4, 8, {kind}
    .asciz "Xen"
    .quad {value}
%end

.section .note.Xen
.align 4
%note_text(abi.XEN_ELFNOTE_GUEST_OS, "proxen-libos")
%note_text(abi.XEN_ELFNOTE_GUEST_VERSION, "1")
%note_text(abi.XEN_ELFNOTE_XEN_VERSION, "xen-3.0")
%note_text(abi.XEN_ELFNOTE_LOADER, "generic")
%note_text(abi.XEN_ELFNOTE_FEATURES, "pae_pgdir_above_4gb")
%note_number(abi.XEN_ELFNOTE_VIRT_BASE, VIRT_BASE)
%note_number(abi.XEN_ELFNOTE_PADDR_OFFSET, VIRT_BASE)
%note_number(abi.XEN_ELFNOTE_ENTRY, "start")
%note_number(abi.XEN_ELFNOTE_HYPERCALL_PAGE, "hypercall_page")
%note_number(abi.XEN_ELFNOTE_SUPPORTED_FEATURES, 1 << abi.XENFEAT_dom0)

.extern libos_start, handle_trap, handle_upcall
.global start, hypercall, hypercall_page, switch_stacks, trap_entries, upcall_entry, failsafe_entry

.section .text
.align 4096
hypercall_page:                     ; 32 bytes a hypercall, written by the loader
    .zero {PAGE_SIZE}

; Entered by the hypervisor with rsi = start_info, on a stack that the loader made; ours is larger.
start:
    cld
    lea rsp, [rip + boot_stack + {STACK_BYTES}]
    xor ebp, ebp                    ; backtraces end here
    mov rdi, rsi
    call libos_start
    ud2

; hypercall(number, a, b, c, d, e) -> result. C's rdi rsi rdx rcx r8 r9 to Xen's rdi rsi rdx r10 r8.
hypercall:
    mov eax, edi
    shl eax, 5
    lea r11, [rip + hypercall_page]
    add rax, r11
    mov rdi, rsi
    mov rsi, rdx
    mov rdx, rcx
    mov r10, r8
    mov r8, r9
    jmp rax

; switch_stacks(save: Ptr[u64], load: u64): what a function must preserve goes on the old stack, comes from the new one.
switch_stacks:
%for name in ("rbp", "rbx", "r12", "r13", "r14", "r15"):
    push {name}
%end
    mov [rdi], rsp
    mov rsp, rsi
%for name in ("r15", "r14", "r13", "r12", "rbx", "rbp"):
    pop {name}
%end
    ret

; What the hypervisor pushes for a trap or an upcall, from high to low addresses:
;   ss  rsp  rflags  cs  rip  [error code, for some]  r11  rcx
; The entries turn it into an abi.cpu_user_regs: vector in the upper half of the error code's word, all registers below.
%SAVED = ["rdi", "rsi", "rdx", "rcx", "rax", "r8", "r9", "r10", "r11", "rbx", "rbp", "r12", "r13", "r14", "r15"]
%def entry(vector, has_error_code):
    pop rcx
    pop r11
  %if not has_error_code:
    push 0
  %end
    mov dword ptr [rsp + 4], {vector}
%end
%def call_with_registers(handler):
  %for name in SAVED:
    push {name}
  %end
    cld
    mov rdi, rsp
    call {handler}
    jmp leave
%end

%for vector in range(NR_TRAPS):
.align 16
trap_{vector}:
    %entry(vector, vector in HAS_ERROR_CODE)
    jmp trap_common
%end
trap_common:
    %call_with_registers("handle_trap")

upcall_entry:
    %entry(VECTOR_upcall, False)
    %call_with_registers("handle_upcall")

failsafe_entry:                     ; a segment register could not be loaded; libos never changes one
    ud2

; Back to the interrupted code: the iret hypercall also restores the event mask, from rflags. Its stub pushes rcx, r11 and rax
; below the word of flags (none) that makes an abi.iret_context of the frame.
leave:
%for name in reversed(SAVED):
    pop {name}
%end
    mov qword ptr [rsp], 0
    jmp hypercall_page + {32 * abi.__HYPERVISOR_iret}

.section .rodata
.align 8
trap_entries:
%for vector in range(NR_TRAPS):
    .quad trap_{vector}
%end

; Pages that the hypervisor's own frames replace once libos runs: see libos/memory.py, map_shared_page.
.section .bss
.align 4096
.global shared_info, console_page, xenstore_page, grant_table, boot_guard
shared_info:
    .zero {PAGE_SIZE}
console_page:
    .zero {PAGE_SIZE}
xenstore_page:
    .zero {PAGE_SIZE}
grant_table:
    .zero {PAGE_SIZE * GRANT_FRAMES}
    .zero {PAGE_SIZE}               ; the boot stack as libos/stack.py draws it
boot_guard:
    .zero {PAGE_SIZE}
boot_stack:
    .zero {STACK_BYTES}

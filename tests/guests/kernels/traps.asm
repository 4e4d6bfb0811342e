; Experiments with traps: each runs a few instructions; a trap that they raise is noted in `seen` and the experiment is left.
; The handlers return by themselves, without an iret: what is looked at is the frame that the hypervisor made.
%from tests.guests.kernels.trap_frames import VECTORS, HAS_ERROR_CODE, Seen
.extern seen, hypercall_page
.global experiment_entries
.global try_int3, try_ud2, try_divide, try_int_77, try_int_78, try_single_step, try_step_emulated, try_watchpoint
.global try_registers, try_cli, try_in, try_outs, try_read_cr, try_clts, try_rdmsr, try_wrmsr, try_load_fs, try_cpuid
.global try_osxsave, try_xsetbv, try_fpu, try_iret, try_store

%def begin(name):                       ; (rdi, rsi, rdx) -> rax; the trap, if any, ends it at `done`
{name}:
    push rbx
    push rbp
    mov [rip + saved_stack], rsp
    lea rax, [rip + {name}_done]
    mov [rip + resume_at], rax
%end
%def finish(name):
{name}_done:
    cld
    pop rbp
    pop rbx
    ret
%end

.section .text
%begin("try_int3")
    mov ecx, 0x1234
    mov r11d, 0x5678
    int3
try_int3_after:
%finish("try_int3")

%begin("try_ud2")
    ud2
%finish("try_ud2")

%begin("try_divide")
    xor eax, eax
    xor edx, edx
    xor ecx, ecx
    div ecx
%finish("try_divide")

%begin("try_int_77")
    int 0x77
%finish("try_int_77")

%begin("try_int_78")
    int 0x78
%finish("try_int_78")

%begin("try_single_step")               ; returns the address behind the instruction that was stepped
    lea rdi, [rip + single_stepped]
    pushfq
    or dword ptr [rsp], 0x100
    popfq
    nop
single_stepped:
    nop
    nop
    pushfq
    and dword ptr [rsp], 0xfffffeff
    popfq
%finish("try_single_step")

%begin("try_step_emulated")
    pushfq
    or dword ptr [rsp], 0x100
    popfq
    mov rax, cr0
    nop
    nop
%finish("try_step_emulated")

%begin("try_watchpoint")                ; (address)
    mov [rdi], rdi
    nop
%finish("try_watchpoint")

%begin("try_registers")                 ; an emulated instruction changes nothing but its result
    mov rbx, 0x1111
    mov rbp, 0x2222
    mov r8d, 0x3333
    mov rcx, 0x4444
    mov r11, 0x5555
    stc
    mov rax, cr4
    setc al
    movzx eax, al
    shl rax, 16
    add rax, rbx
    add rax, rbp
    add rax, r8
    add rax, rcx
    add rax, r11
%finish("try_registers")

%begin("try_cli")
    cli
    sti
    mov eax, 1
%finish("try_cli")

%begin("try_in")                        ; (port): a byte, then 32 bits from the immediate 0x80 upwards
    mov rax, -1
    mov edx, edi
    in al, dx
%finish("try_in")

%begin("try_outs")                      ; (address, count) -> the address behind, less the count that is left
    mov rcx, rsi
    mov rsi, rdi
    mov edx, 0x80
    rep outsb
    mov rax, rsi
    sub rax, rcx
%finish("try_outs")

%begin("try_read_cr")                   ; (number)
    cmp edi, 2
    jb .cr0
    je .cr2
    cmp edi, 3
    je .cr3
    mov rax, cr4
    jmp .read
.cr0:
    mov rax, cr0
    jmp .read
.cr2:
    mov rax, cr2
    jmp .read
.cr3:
    mov rax, cr3
.read:
%finish("try_read_cr")

%begin("try_osxsave")                   ; sets cr4.OSXSAVE -> cr4
    mov rax, cr4
    or rax, 0x40000
    mov cr4, rax
    mov rax, cr4
%finish("try_osxsave")

%begin("try_clts")
    clts
    mov eax, 1
%finish("try_clts")

%begin("try_rdmsr")                     ; (number)
    mov ecx, edi
    rdmsr
    shl rdx, 32
    or rax, rdx
%finish("try_rdmsr")

%begin("try_wrmsr")                     ; (number, value) -> 1
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    wrmsr
    mov eax, 1
%finish("try_wrmsr")

%begin("try_load_fs")                   ; the word at fs:0
    mov rax, fs:[0]
%finish("try_load_fs")

%begin("try_cpuid")                     ; (leaf) -> ebx
    mov eax, edi
    xor ecx, ecx
    ud2
    .byte 0x78, 0x65, 0x6e
    cpuid
    mov eax, ebx
%finish("try_cpuid")

%begin("try_xsetbv")                    ; (value) -> xgetbv
    xor ecx, ecx
    mov eax, edi
    xor edx, edx
    xsetbv
    xor ecx, ecx
    xgetbv
%finish("try_xsetbv")

%begin("try_fpu")
    fninit
    mov eax, 1
%finish("try_fpu")

%begin("try_iret")                      ; (rip, cs): returns by hypercall to a frame of its own
    mov rax, rsp
    mov ecx, 0xe02b
    push rcx
    push rax
    pushfq
    push rsi
    push rdi
    push 0                              ; flags: not from a system call
    lea rax, [rip + hypercall_page + {23 * 32}]
    jmp rax
%finish("try_iret")

%begin("try_store")                     ; (address)
    mov [rdi], rdi
    mov eax, 1
%finish("try_store")

; What came, from the frame as the hypervisor pushed it: rcx r11 [error code] rip cs rflags rsp ss
%for vector in VECTORS:
entry_{vector}:
    mov qword ptr [rip + seen + {Seen.vector}], {vector}
    pop qword ptr [rip + seen + {Seen.rcx}]
    pop qword ptr [rip + seen + {Seen.r11}]
  %if vector in HAS_ERROR_CODE:
    pop qword ptr [rip + seen + {Seen.error_code}]
  %end
    jmp note_rest
%end

note_rest:
    inc qword ptr [rip + seen + {Seen.count}]
    pop qword ptr [rip + seen + {Seen.rip}]
    pop qword ptr [rip + seen + {Seen.cs}]
    pop qword ptr [rip + seen + {Seen.rflags}]
    pop qword ptr [rip + seen + {Seen.rsp}]
    pop qword ptr [rip + seen + {Seen.ss}]
    mov rsp, [rip + saved_stack]
    mov rax, -1
    jmp [rip + resume_at]

.section .data
.align 8
experiment_entries:
%for vector in VECTORS:
    .quad entry_{vector}
%end

.section .bss
.align 8
saved_stack:
    .zero 8
resume_at:
    .zero 8

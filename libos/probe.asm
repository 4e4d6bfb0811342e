; What may fault: an access is one instruction with a label, and libos/probe.py resumes behind it; a call resumes with the stack
; pointer that it had.
.global probe_load, probe_store, probe_load_at, probe_store_at, probe_failed
.global probe_call, probe_call_failed, probe_stack

.section .text
probe_load:                         ; (address, to: Ptr[u64]) -> whether it worked
probe_load_at:
    mov rax, [rdi]
    mov [rsi], rax
    mov eax, 1
    ret

probe_store:                        ; (address, value) -> whether it worked
probe_store_at:
    mov [rdi], rsi
    mov eax, 1
    ret

probe_failed:                       ; where a fault at one of the two resumes
    xor eax, eax
    ret

%SAVED = ("rbp", "rbx", "r12", "r13", "r14", "r15")
probe_call:                         ; (address) -> whether it came back by itself
%for name in SAVED:
    push {name}
%end
    mov [rip + probe_stack], rsp
    lea rsp, [rip + probe_scratch + 2048] ; a stack that the callee may unbalance
%for name in ("eax", "ecx", "edx", "ebx", "ebp", "esi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"):
    xor {name}, {name}              ; and no address of ours to find
%end
    call rdi
    mov eax, 1
leave_probe_call:
    mov rsp, [rip + probe_stack]
    mov qword ptr [rip + probe_stack], 0
%for name in reversed(SAVED):
    pop {name}
%end
    cld
    ret
probe_call_failed:
    xor eax, eax
    jmp leave_probe_call

.section .bss
.align 8
probe_stack:                        ; not 0 while a probed call runs
    .zero 8
probe_scratch:
    .zero 4096

; Small routines that inline assembly cannot express.
%from kernel.x86.cpu import CpuidResult
%from kernel.x86.selectors import CORE_CS, CORE_DS
.global cpuid_into, reload_segments, call_on_stack

.section .text
; edi = leaf, esi = subleaf, rdx = Ptr[CpuidResult].
cpuid_into:
    push rbx
    mov r8, rdx
    mov eax, edi
    mov ecx, esi
    cpuid
    mov [r8 + {CpuidResult.eax}], eax
    mov [r8 + {CpuidResult.ebx}], ebx
    mov [r8 + {CpuidResult.ecx}], ecx
    mov [r8 + {CpuidResult.edx}], edx
    pop rbx
    ret

; Load CS and SS from the table that `lgdt` has just made current; the data segments become null.
reload_segments:
    pop rax
    push {CORE_CS}
    push rax
    mov eax, {CORE_DS}
    mov ss, eax
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    lretq

; Continue on another stack, for good.  rdi = its end, rsi = the function.
call_on_stack:
    mov rsp, rdi
    xor ebp, ebp
    call rsi
.never:
    hlt
    jmp .never

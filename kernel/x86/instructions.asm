; Small routines that inline assembly cannot express.
%import abi
%from kernel.x86.cpu import CpuidResult
%from kernel.x86.selectors import CORE_CS, CORE_DS
%REGISTERS = ["rdi", "rsi", "rdx", "rcx", "rax", "r8", "r9", "r10", "r11", "rbx", "rbp", "r12", "r13", "r14", "r15"]
.extern panic_with_registers
.global cpuid_into, reload_segments, call_on_stack, kpy_panic

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

; kpy_panic(rdi = Ptr[PanicSite], rsi, rdx = two values): a check has failed. Add the registers, an abi.cpu_user_regs; those of the
; arguments are what they are by now.
;   [rsp] return address, in the code that checked
kpy_panic:
    sub rsp, {sizeof(abi.cpu_user_regs)}
  %for name in REGISTERS:
    mov [rsp + {getattr(abi.cpu_user_regs, name)}], {name}
  %end
    pushfq
    pop qword ptr [rsp + {abi.cpu_user_regs.rflags}]
    mov rax, [rsp + {sizeof(abi.cpu_user_regs)}]
    sub rax, 5                              ; to the call itself: behind it the next function may begin
    mov [rsp + {abi.cpu_user_regs.rip}], rax
    lea rax, [rsp + {sizeof(abi.cpu_user_regs) + 8}]
    mov [rsp + {abi.cpu_user_regs.rsp}], rax
    xor eax, eax
    mov [rsp + {abi.cpu_user_regs.error_code}], rax
    mov eax, cs
    mov [rsp + {abi.cpu_user_regs.cs}], rax
    mov eax, ss
    mov [rsp + {abi.cpu_user_regs.ss}], rax
    mov rcx, rsp
    call panic_with_registers               ; kernel/panic/panic.py

; The shortest ways in and out of a guest kernel, so that what is measured is the hypervisor's.
;
; Every entry finds on the stack, from low to high addresses: rcx, r11, [error code of a page fault], rip, cs, rflags, rsp, ss.
%import abi
%from libos.layout import PAGE_SIZE
%from libos.bench.user_layout import FINISHED, KERNEL_CS, OPERATIONS, USER_CODE, USER_CS, USER_SS, USER_STACK

.extern hypercall_page, shared_info
.global bench_page_fault, bench_breakpoint, bench_upcall, bench_syscall
.global touch, breakpoint, iret_to_self, enter_user, user_code

%FAULTING_BYTES = 3                  ; length of `mov rax, [rdi]`
%RFLAGS_IF = 0x202

; Back to where the frame on the stack says: a word of flags completes it for the iret hypercall.
%def leave(flags):
    push {flags}
    jmp hypercall_page + {32 * abi.__HYPERVISOR_iret}
%end

.section .text
bench_page_fault:                    ; skip the instruction that faulted
    pop rcx
    pop r11
    add rsp, 8
    add qword ptr [rsp], {FAULTING_BYTES}
    %leave(0)

bench_breakpoint:
    pop rcx
    pop r11
    %leave(0)

bench_upcall:                        ; the event is seen: clear it in the vCPU, the selector and the port's word
    pop rcx
    pop r11
    mov byte ptr [rip + shared_info + {abi.shared_info.vcpu_info[0].evtchn_upcall_pending}], 0
    mov qword ptr [rip + shared_info + {abi.shared_info.vcpu_info[0].evtchn_pending_sel}], 0
    mov qword ptr [rip + shared_info + {abi.shared_info.evtchn_pending}], 0
    %leave(0)

; A system call of the user code below: rax = FINISHED ends it with its result in rdi, anything else returns at once.
bench_syscall:
    cmp rax, {FINISHED}
    je .finished
    pop rcx
    pop r11
    %leave(abi.VGCF_in_syscall)
.finished:
    mov rsp, [rip + kernel_stack]
    mov rax, rdi
%for name in ("r15", "r14", "r13", "r12", "rbx", "rbp"):
    pop {name}
%end
    ret

; touch(address): a page fault
touch:
    mov rax, [rdi]
    ret

breakpoint:
    int3
    ret

; An iret hypercall that returns to our caller.
iret_to_self:
    pop rax
    mov rdx, rsp
    push {USER_SS}
    push rdx
    push {RFLAGS_IF}
    push {KERNEL_CS}
    push rax
    %leave(0)

; enter_user(rip) -> what the user code reports
enter_user:
%for name in ("rbp", "rbx", "r12", "r13", "r14", "r15"):
    push {name}
%end
    mov [rip + kernel_stack], rsp
    push {USER_SS}
    mov rax, {USER_STACK}
    push rax
    push {RFLAGS_IF}
    push {USER_CS}
    push rdi
    %leave(0)

; The user's page. Each operation reports the ticks that it took.
.align {PAGE_SIZE}
user_code:
%for operation in OPERATIONS:
.align 64
user_{operation}:
    xor edi, edi
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov r12, rax
  %if operation == "syscall":
    xor eax, eax
    syscall
  %end
  %if operation == "page_fault":
    mov rax, [rdi]
  %end
  %if operation == "breakpoint":
    int3
  %end
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, r12
    mov rdi, rax
    mov eax, {FINISHED}
    syscall
%end
.align {PAGE_SIZE}

.section .bss
.align 8
kernel_stack:
    .zero 8

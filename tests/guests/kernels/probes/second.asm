; The second domain's whole kernel: it does what the first one puts into its mailbox, and yields while there is nothing. It is
; copied into a page of the new domain, so all addresses in it are the new domain's.
%import abi
%from tests.guests.kernels.probes.second_layout import HYPERCALLS, MAILBOX, REQUEST_CALL, REQUEST_LOAD, REQUEST_NONE, REQUEST_STORE
%from tests.guests.kernels.probes.second import Mailbox
.global second_kernel, second_kernel_end

.section .text
second_kernel:
    mov rbx, {MAILBOX}
    mov rbp, {HYPERCALLS}
second_wait:
    mov rcx, [rbx + {Mailbox.request}]
    cmp rcx, {REQUEST_NONE}
    jne second_serve
    mov edi, {abi.SCHEDOP_yield}
    xor esi, esi
    lea rax, [rbp + {abi.__HYPERVISOR_sched_op * 32}]
    call rax
    jmp second_wait

second_serve:
    mov rdi, [rbx + {Mailbox.arguments}]
    mov rsi, [rbx + {Mailbox.arguments} + 8]
    mov rdx, [rbx + {Mailbox.arguments} + 16]
    mov r10, [rbx + {Mailbox.arguments} + 24]
    mov r8, [rbx + {Mailbox.arguments} + 32]
    cmp rcx, {REQUEST_CALL}
    je second_call
    cmp rcx, {REQUEST_LOAD}
    je second_load
    cmp rcx, {REQUEST_STORE}
    je second_store
    ud2
second_load:
    mov rax, [rdi]
    jmp second_done
second_store:
    mov [rdi], rsi
    xor eax, eax
    jmp second_done
second_call:
    mov rax, [rbx + {Mailbox.number}]
    shl rax, 5
    add rax, rbp
    call rax
second_done:
    mov [rbx + {Mailbox.result}], rax
    mov qword ptr [rbx + {Mailbox.request}], {REQUEST_NONE}
    jmp second_wait
second_kernel_end:

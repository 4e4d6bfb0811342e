; Memory that may not be there: each access is one instruction between labels, and libos/probe.py resumes behind it on a fault.
.global probe_load, probe_store, probe_load_at, probe_store_at, probe_failed

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

; Ways to die that kernel Python cannot spell.
.global wild_stack, wild_jump, wild_system_call, wild_privileged
.extern hypercall

.section .text
wild_stack:                         ; a fault whose frame cannot be written
    mov rsp, 0x1000
    ud2

wild_jump:                          ; (address)
    jmp rdi

wild_system_call:                   ; (number): a hypercall past the hypercall page, with whatever is in the registers
    mov rax, rdi
    syscall
    ret

wild_privileged:                    ; instructions that the hypervisor emulates or refuses
    xor eax, eax
    mov cr3, rax
    ret

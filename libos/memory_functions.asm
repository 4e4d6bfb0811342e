; What LLVM calls when a copy or fill is too large to spell out. The string instructions are the fastest short way.
.global memcpy, memmove, memset, memcmp
.section .text

memcpy:                             ; (to, from, count) -> to
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret

memmove:                            ; as memcpy, but they may overlap: then copy from the end when `to` is above `from`
    mov rax, rdi
    mov rcx, rdx
    mov r8, rdi
    sub r8, rsi
    cmp r8, rdx
    jae .forward
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret
.forward:
    rep movsb
    ret

memset:                             ; (to, byte, count) -> to
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret

memcmp:                             ; (a, b, count) -> negative, 0 or positive
    xor eax, eax
    mov rcx, rdx
    test rcx, rcx
    jz .same
    repe cmpsb
    je .same
    movzx eax, byte ptr [rdi - 1]
    movzx ecx, byte ptr [rsi - 1]
    sub ecx, eax
    mov eax, ecx
    neg eax
.same:
    ret

; The program of a child domain: it never rests, and notes when each of its turns began and ended.
.global spinner, spinner_end

.section .text
; rdi = a page: the number of turns that have ended, then {began, ended} of each, in ticks of the TSC.
; A pause longer than rsi ticks between two readings means that somebody else ran.
spinner:
    rdtsc
    shl rdx, 0x20
    or rax, rdx
turn:
    mov r8, rax                     ; began
again:
    mov r9, rax                     ; the last reading
    rdtsc
    shl rdx, 0x20
    or rax, rdx
    mov rcx, rax
    sub rcx, r9
    cmp rcx, rsi
    jb again
    mov rcx, [rdi]
    cmp rcx, 0x40                   ; enough
    jae again
    inc rcx
    mov [rdi], rcx
    shl rcx, 0x4
    mov [rdi + rcx], r8
    mov [rdi + rcx + 8], r9
    jmp turn
spinner_end:

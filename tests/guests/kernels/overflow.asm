; Ways to run over a stack that kernel Python, whose depth is known, does not have.
%from libos.layout import PAGE_SIZE
.global large_frame, endless_calls

.section .text
large_frame:                        ; (guard): a frame that skips most of the guard page, and is written to
    push rbp
    mov rbp, rsp
    lea rsp, [rdi - {PAGE_SIZE // 2}]
    mov [rdi + {PAGE_SIZE // 2}], rbp
    mov rsp, rbp
    pop rbp
    ret

endless_calls:
    push rbp
    mov rbp, rsp
    call endless_calls
    pop rbp
    ret

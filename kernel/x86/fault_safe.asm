; Instructions that may fault because of what a guest said, each listed with the place to go on at when it does. The exception table
; is pairs of addresses; trap_from_core (kernel/entry/core_trap.py) looks a faulting rip up in it.
.global guest_copy, read_guest, write_guest, load_ds_safe, load_es_safe, load_fs_safe, load_gs_safe, load_user_gs_safe
.global xrstor_safe, fxrstor_safe

%def on_fault(fixup):                        ; the next instruction may fault
%unique = globals()["unique"] = globals().get("unique", 0) + 1
may_fault_{unique}:
.section .exception_table, "a"
    .quad may_fault_{unique}
    .quad {fixup}
.section .text
%end

.section .text
; Copy bytes from or to guest memory.  rdi = to, rsi = from, rdx = count.  rax = bytes not copied (rounded up to words).
.align 16
read_guest:                                  ; the three have one code: kernel/base/guest_memory.py
write_guest:
guest_copy:
    mov rcx, rdx
    shr rcx, 3
    %on_fault("guest_copy_words_failed")
    rep movsq
    mov ecx, edx
    and ecx, 7
    %on_fault("guest_copy_bytes_failed")
    rep movsb
guest_copy_bytes_failed:
    mov rax, rcx
    ret
guest_copy_words_failed:
    and edx, 7
    lea rax, [rdx + rcx*8]
    ret

; rdi = selector.  rax = 0, or 1: the guest's tables have no such segment; the register then holds the null selector.
%for register in ("ds", "es", "fs", "gs"):
load_{register}_safe:
    %on_fault(f"load_{register}_failed")
    mov {register}, edi
    xor eax, eax
    ret
load_{register}_failed:
    xor eax, eax
    mov {register}, eax
    inc eax
    ret
%end

; The same for the gs of guest user mode while the kernel's is active: its base is the hidden one.
load_user_gs_safe:
    swapgs
    %on_fault("load_user_gs_failed")
    mov gs, edi
    mfence                                  ; no memory access of ours may use the wrong base, even speculatively
    swapgs
    xor eax, eax
    ret
load_user_gs_failed:
    xor eax, eax
    mov gs, eax
    swapgs
    inc eax
    ret

; rdi = save area, rsi = mask.  rax = 0, or 1: the area is malformed.
xrstor_safe:
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    %on_fault("access_failed")
    xrstor64 [rdi]
    xor eax, eax
    ret

fxrstor_safe:
    %on_fault("access_failed")
    fxrstor64 [rdi]
    xor eax, eax
    ret

access_failed:
    mov eax, 1
    ret

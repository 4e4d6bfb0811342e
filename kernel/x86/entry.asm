; Every way from a guest into the core, and the one way back.
;
; The task-state segment's rsp0 is the end of `regs` in the vCPU that runs, so the processor pushes its frame straight into the
; Vcpu, and the stubs push the rest below it. Then rsp changes to the physical CPU's own stack. What the stubs build, from high
; to low addresses (abi.cpu_user_regs):
;
;   ss  rsp  rflags  cs  rip            pushed by the processor, or by the syscall stub
;   entry_vector : error_code           one word, vector in the upper half
;   rdi rsi rdx rcx rax r8 r9 r10 r11 rbx rbp r12 r13 r14 r15
;
; Then kernel Python decides (`trap_from_guest` and kin) and returns the Vcpu to run. Interrupts stay off in the core.
%from kernel.state.vcpu import Vcpu
%from kernel.x86.percpu import AREA_BYTES, NR_CPUS, Pcpu
%from kernel.x86.selectors import FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS
%from kernel.x86.syscall_entry import SCRATCH_RSP, SCRATCH_RSP0, SCRATCH_STRIDE, SYSCALL_STRIDE, STUB_STRIDE
%from kernel.x86.bits import EFLAGS_RF, EFLAGS_TF, EFLAGS_VM
%from kernel.x86 import vectors
%SAVED = ["rdi", "rsi", "rdx", "rcx", "rax", "r8", "r9", "r10", "r11", "rbx", "rbp", "r12", "r13", "r14", "r15"]

.extern trap_from_guest, interrupt_from_guest, syscall_from_guest, syscall32_from_guest, iret_fault
.extern trap_from_core, interrupt_from_core, nmi_from_anywhere, double_fault, machine_check
.extern syscall_scratch
.global vector_stubs, syscall_stubs, syscall32_stubs, enter_guest, resume_guest, resume_guest_clearing

%def save_registers():
  %for name in SAVED:
    push {name}
  %end
%end

%def restore_registers():
  %for name in reversed(SAVED):
    pop {name}
  %end
%end

; From rsp at the end of a complete register frame in a Vcpu: rdi = the Vcpu, rsp = this processor's stack.
%def leave_frame():
    lea rdi, [rsp - {Vcpu.regs}]
    mov rsp, [rdi + {Vcpu.stack_top}]
    xor ebp, ebp                            ; the backtrace ends here
%end

.section .text
.align 16
vector_stubs:                               ; one every STUB_STRIDE bytes
%for vector in range(256):
vector_{vector}:
  %if vector >= 32 or not vectors.HAS_ERROR_CODE >> vector & 1:
    push 0
  %end
    mov dword ptr [rsp + 4], {vector}
  %if vector == vectors.TRAP_debug:
    jmp debug_entry
  %elif vector == vectors.TRAP_nmi:
    jmp nmi_entry
  %elif vector == vectors.TRAP_double_fault:
    jmp double_fault_entry
  %elif vector == vectors.TRAP_machine_check:
    jmp machine_check_entry
  %elif vector < 32 or vector == 0x80:
    jmp trap_entry
  %else:
    jmp interrupt_entry
  %end
    .align {STUB_STRIDE}
%end

; An exception, or `int 0x80`.
; [rsp] vector:error_code   [rsp+8] rip   [rsp+16] cs   [rsp+24] rflags   [rsp+32] rsp   [rsp+40] ss
.align 16
trap_entry:
    test byte ptr [rsp + 16], 3
    jz fault_in_core
trap_from_ring3:
    %save_registers()
    cld
    %leave_frame()
    mov esi, [rdi + {Vcpu.regs.entry_vector}]
    call trap_from_guest                    ; kernel/entry/trap.py

; The way back to ring 3: rax = the Vcpu. SYSRET is quicker than IRET but loads rcx from rip and r11 from rflags, so it
; serves exactly where those are equal. A non-canonical rip would fault in ring 0 on the guest's stack, so it goes by IRET.
resume_guest:
    mov rcx, [rax + {Vcpu.regs.rip}]
    mov r11, [rax + {Vcpu.regs.rflags}]
resume_chosen:
    lea rsp, [rax + {Vcpu.regs}]
    cmp rcx, [rax + {Vcpu.regs.rcx}]
    jne .by_iret
    cmp r11, [rax + {Vcpu.regs.r11}]
    jne .by_iret
    cmp word ptr [rax + {Vcpu.regs.cs}], {FLAT_RING3_CS64}
    jne .by_iret
    cmp word ptr [rax + {Vcpu.regs.ss}], {FLAT_RING3_SS}
    jne .by_iret
    test r11d, {EFLAGS_TF | EFLAGS_RF | EFLAGS_VM}
    jnz .by_iret
    mov rdx, rcx
    shl rdx, 16
    sar rdx, 16
    cmp rdx, rcx
    jne .by_iret
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    add rsp, 8                              ; r11 holds rflags already
    pop r10
    pop r9
    pop r8
    pop rax
    add rsp, 8                              ; rcx holds rip already
    pop rdx
    pop rsi
    pop rdi
    mov rsp, [rsp + {Vcpu.regs.rsp - Vcpu.regs.error_code}]
    sysretq

.by_iret:
    %restore_registers()
    add rsp, 8
iret_to_guest:
    iretq                                   ; may fault: see fault_in_core

; Where the first two instructions of resume_guest lead on a processor that leaks through its buffers (kernel/x86/speculation.py).
resume_guest_clearing:
    verw word ptr [rip + clearing_selector]
    mov rcx, [rax + {Vcpu.regs.rip}]
    mov r11, [rax + {Vcpu.regs.rflags}]
    jmp resume_chosen
clearing_selector:
    .word {FLAT_RING3_SS}

; Start running guests on this processor.  rdi = the Vcpu.
enter_guest:
    mov rax, rdi
    jmp resume_guest

; A device, the timer, or another processor.
.align 16
interrupt_entry:
    test byte ptr [rsp + 16], 3
    jz interrupt_in_core
    %save_registers()
    cld
    %leave_frame()
    mov esi, [rdi + {Vcpu.regs.entry_vector}]
    call interrupt_from_guest               ; kernel/irq/irq.py
    jmp resume_guest

; Only the idle loop lets interrupts in.
interrupt_in_core:
    %save_registers()
    cld
    mov rbx, rsp
    mov edi, [rsp + {Vcpu.regs.entry_vector - Vcpu.regs}]
    and rsp, -16
    call interrupt_from_core                ; kernel/irq/irq.py
    mov rsp, rbx
    %restore_registers()
    add rsp, 8
    iretq

; A fault in ring 0 has two good reasons: the IRET above met a frame that the guest spoilt, or an access to guest memory failed that
; is listed in the exception table. IRET faults with rsp still inside the Vcpu, at `rip`; the processor aligned it down and pushed
; its frame over registers that are all still in the processor, so the frame is simply built again.
fault_in_core:
    push rax
    lea rax, [rip + iret_to_guest]
    cmp rax, [rsp + 16]
    je .iret_failed
    pop rax
    %save_registers()
    cld
    mov rdi, rsp
    mov esi, [rsp + {Vcpu.regs.entry_vector - Vcpu.regs}]
    mov rbx, rsp
    and rsp, -16
    call trap_from_core                     ; kernel/entry/core_trap.py: finds the fixup, or panics
    mov rsp, rbx
    %restore_registers()
    add rsp, 8
    iretq
.iret_failed:
    mov rax, [rsp + 40]                     ; rsp before the fault: the address of regs.rip
    push qword ptr [rsp + 8]                ; vector:error_code of this fault
    pop qword ptr [rax - 8]
    pop rax
    mov rsp, [rsp + 32]
    sub rsp, 8
    %save_registers()
    cld
    %leave_frame()
    mov esi, [rdi + {Vcpu.regs.entry_vector}]
    call iret_fault                         ; kernel/entry/trap.py
    jmp resume_guest

; #DB has a stack of its own, since a breakpoint on `mov ss` before `syscall` strikes when rsp is still the guest's. From ring 3 the
; frame moves to the Vcpu and it becomes an ordinary trap.
debug_entry:
    test byte ptr [rsp + 16], 3
    jz fault_in_core
    push rdi
    mov rdi, rsp
    and rdi, {-AREA_BYTES}
    mov rdi, [rdi + {Pcpu.tss.rsp0}]
    sub rdi, 48
    push rax
  %for offset in range(0, 48, 8):
    mov rax, [rsp + {16 + offset}]
    mov [rdi + {offset}], rax
  %end
    pop rax
    push rdi
    mov rdi, [rsp + 8]
    mov rsp, [rsp]
    jmp trap_from_ring3

; NMI, #DF and #MC: on stacks of their own, from anywhere; the registers go to the handler for its report.
%for name, handler in (("nmi", "nmi_from_anywhere"), ("double_fault", "double_fault"), ("machine_check", "machine_check")):
{name}_entry:
    %save_registers()
    cld
    mov rdi, rsp
    mov rbx, rsp
    and rsp, -16
    call {handler}                          ; kernel/entry/core_trap.py
    mov rsp, rbx
    %restore_registers()
    add rsp, 8
    iretq
%end

; SYSCALL: rcx = rip, r11 = rflags, rsp still the guest's. There is no register to spare and GS is the guest's, so each processor
; has a stub that knows its own scratch words.
%for kind, cs, handler in (("syscall", FLAT_RING3_CS64, "syscall_from_guest"), ("syscall32", FLAT_RING3_CS32, "syscall32_from_guest")):
.align {SYSCALL_STRIDE}
{kind}_stubs:                               ; one every SYSCALL_STRIDE bytes
  %for cpu in range(NR_CPUS):
{kind}_{cpu}:
    mov [rip + syscall_scratch + {cpu * SCRATCH_STRIDE + SCRATCH_RSP}], rsp
    mov rsp, [rip + syscall_scratch + {cpu * SCRATCH_STRIDE + SCRATCH_RSP0}]
    push {FLAT_RING3_SS}
    push qword ptr [rip + syscall_scratch + {cpu * SCRATCH_STRIDE + SCRATCH_RSP}]
    push r11
    push {cs}
    push rcx
    jmp {kind}_entry
    .align {SYSCALL_STRIDE}
  %end
.align 16
{kind}_entry:
    push 0                                  ; vector:error_code, meaningless
    %save_registers()
    %leave_frame()
    call {handler}                          ; kernel/entry/hypercall.py, kernel/entry/trap.py
    jmp resume_guest
%end

/*
 * The baseline of the exit comparison: a KVM guest that reads a device register over and over, and a loop in C that answers the exits and does
 * nothing else.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY = 1 << 20, CODE = 0x1000 };

struct exits {
    int kvm, vm, vcpu, run_bytes;
    void *memory;
    struct kvm_run *run;
};

static void destroy(struct exits *e)
{
    if (e->run && e->run != MAP_FAILED) munmap(e->run, e->run_bytes);
    if (e->vcpu > 0) close(e->vcpu);
    if (e->vm > 0) close(e->vm);
    if (e->kvm > 0) close(e->kvm);
    if (e->memory && e->memory != MAP_FAILED) munmap(e->memory, MEMORY);
    free(e);
}

void exits_destroy(struct exits *e) { destroy(e); }

/* 32-bit code in flat segments, without paging, at CODE. Null if KVM refuses. */
struct exits *exits_create(const uint8_t *code, int code_bytes)
{
    struct exits *e = calloc(1, sizeof *e);
    e->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (e->kvm < 0) goto fail;
    e->vm = ioctl(e->kvm, KVM_CREATE_VM, 0);
    if (e->vm < 0) goto fail;
    e->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = { .memory_size = MEMORY, .userspace_addr = (uintptr_t)e->memory };
    if (ioctl(e->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul) < 0 || ioctl(e->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) goto fail;
    e->vcpu = ioctl(e->vm, KVM_CREATE_VCPU, 0);
    e->run_bytes = ioctl(e->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (e->vcpu < 0 || e->run_bytes < 0) goto fail;
    e->run = mmap(NULL, e->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, e->vcpu, 0);
    if (e->run == MAP_FAILED) goto fail;
    memcpy((char *)e->memory + CODE, code, code_bytes);

    struct kvm_sregs sregs;
    if (ioctl(e->vcpu, KVM_GET_SREGS, &sregs) < 0) goto fail;
    struct kvm_segment flat = { .limit = 0xffffffff, .selector = 0x10, .type = 0xb, .present = 1, .db = 1, .s = 1, .g = 1 };
    sregs.cs = flat;
    flat.selector = 0x18;
    flat.type = 3;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
    sregs.cr0 |= 1;
    struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
    if (ioctl(e->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(e->vcpu, KVM_SET_REGS, &regs) < 0) goto fail;
    return e;
fail:
    destroy(e);
    return NULL;
}

/* Answers so many reads; tells how many it did before something else came. */
long exits_run(struct exits *e, long count)
{
    uint32_t value = 0;
    for (long done = 0; done < count; done++) {
        if (ioctl(e->vcpu, KVM_RUN, 0) < 0) return done;
        if (e->run->exit_reason != KVM_EXIT_MMIO || e->run->mmio.is_write) return done;
        value++;
        memcpy(e->run->mmio.data, &value, sizeof value);
    }
    return count;
}

/*
 * The smallest monitor that boots Linux on KVM to its first user-space line: one vCPU, memory, a serial port, no other device. What tools/nested-start.sh
 * measures ours against. monitor KERNEL INITRD MEBIBYTES CMDLINE; entry by the 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst).
 */
#define _GNU_SOURCE
#include <asm/bootparam.h>
#include <asm/e820.h>
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { Zero = 0x7000, Commands = 0x20000, Tables = 0x9000, Descriptors = 0x8000, Kernel = 0x1000000, Serial = 0x3f8, SerialLine = 4 };

static int vm;

static int call(int fd, unsigned long request, void *argument, const char *what)
{
	int result = ioctl(fd, request, argument);
	if (result < 0) err(1, "%s", what);
	return result;
}

static void *map(const char *path, size_t *size)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0) err(1, "%s", path);
	*size = status.st_size;
	void *bytes = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED) err(1, "%s", path);
	return bytes;
}

/* Loads kernel and initrd; returns the kernel's 64-bit entry. */
static uint64_t load(uint8_t *memory, uint64_t bytes, const char *kernel_path, const char *initrd_path, const char *commands)
{
	size_t kernel_bytes, initrd_bytes;
	const uint8_t *kernel = map(kernel_path, &kernel_bytes), *initrd = map(initrd_path, &initrd_bytes);
	struct boot_params *zero = (void *)(memory + Zero);
	memcpy(&zero->hdr, kernel + 0x1f1, sizeof zero->hdr);
	size_t setup = (zero->hdr.setup_sects ? zero->hdr.setup_sects + 1 : 5) * 512;
	memcpy(memory + Kernel, kernel + setup, kernel_bytes - setup);
	uint64_t initrd_at = (bytes - initrd_bytes) & ~0xfffull;
	memcpy(memory + initrd_at, initrd, initrd_bytes);
	strcpy((char *)memory + Commands, commands);
	zero->hdr.type_of_loader = 0xff;
	zero->hdr.cmd_line_ptr = Commands;
	zero->hdr.ramdisk_image = initrd_at;
	zero->hdr.ramdisk_size = initrd_bytes;
	zero->e820_entries = 2;
	zero->e820_table[0] = (struct boot_e820_entry){ 0, 0x9fc00, E820_RAM };
	zero->e820_table[1] = (struct boot_e820_entry){ 0x100000, bytes - 0x100000, E820_RAM };
	return Kernel + 0x200;
}

static void enter(int vcpu, uint8_t *memory, uint64_t entry)
{
	uint64_t *tables = (void *)(memory + Tables), *descriptors = (void *)(memory + Descriptors);
	tables[0] = (Tables + 0x1000) | 3;
	for (int i = 0; i < 4; i++) tables[512 + i] = (Tables + 0x2000 + i * 0x1000) | 3;
	for (int i = 0; i < 2048; i++) tables[1024 + i] = (uint64_t)i << 21 | 0x83;
	descriptors[2] = 0x00af9b000000ffff;
	descriptors[3] = 0x00cf93000000ffff;
	struct kvm_sregs system;
	call(vcpu, KVM_GET_SREGS, &system, "KVM_GET_SREGS");
	struct kvm_segment code = { .limit = ~0u, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 }, data = code;
	data.type = 3, data.selector = 0x18, data.l = 0, data.db = 1;
	system.cs = code;
	system.ds = system.es = system.fs = system.gs = system.ss = data;
	system.gdt.base = Descriptors, system.gdt.limit = 31;
	system.cr3 = Tables, system.cr4 |= 0x20, system.cr0 |= 0x80000001, system.efer |= 0x500;
	call(vcpu, KVM_SET_SREGS, &system, "KVM_SET_SREGS");
	struct kvm_regs registers = { .rip = entry, .rsi = Zero, .rflags = 2 };
	call(vcpu, KVM_SET_REGS, &registers, "KVM_SET_REGS");
}

static void line(int level)
{
	struct kvm_irq_level irq = { .irq = SerialLine, .level = level };
	call(vm, KVM_IRQ_LINE, &irq, "KVM_IRQ_LINE");
}

/* A 16550A that is always ready to send: what Linux writes goes to the output, and an interrupt asks for more. */
static void serial(int port, int out, uint8_t *data)
{
	static uint8_t registers[8], divisor[2];
	int latch = registers[3] & 0x80;
	static int wants;
	if (out && port == 0 && !latch) {
		if (write(1, data, 1) != 1) err(1, "output");
		wants = registers[1] & 2;
	} else if (out) {
		if (latch && port < 2) divisor[port] = *data;
		else registers[port] = *data;
		if (port == 1 && !latch) wants = *data & 2;
	} else {
		*data = latch && port < 2 ? divisor[port] : port == 2 ? (wants ? 0xc2 : 0xc1) : port == 5 ? 0x60 : port == 6 ? 0xb0 : registers[port];
		if (port == 0 && !latch) *data = 0;
		if (port == 2) wants = 0;
	}
	line(wants != 0);
}

int main(int count, char **words)
{
	if (count != 5) errx(2, "usage: monitor KERNEL INITRD MEBIBYTES CMDLINE");
	uint64_t bytes = strtoull(words[3], NULL, 10) << 20;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0) err(1, "/dev/kvm");
	vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	call(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000, "KVM_SET_TSS_ADDR");
	call(vm, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP");
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	call(vm, KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2");
	uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) err(1, "memory");
	struct kvm_userspace_memory_region region = { .memory_size = bytes, .userspace_addr = (uint64_t)memory };
	call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	int vcpu = call(vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
	struct kvm_cpuid2 *features = calloc(1, sizeof *features + 256 * sizeof *features->entries);
	features->nent = 256;
	call(kvm, KVM_GET_SUPPORTED_CPUID, features, "KVM_GET_SUPPORTED_CPUID");
	call(vcpu, KVM_SET_CPUID2, features, "KVM_SET_CPUID2");
	enter(vcpu, memory, load(memory, bytes, words[1], words[2], words[4]));
	struct kvm_run *run = mmap(NULL, call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "size"), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED) err(1, "vCPU");
	for (;;) {
		call(vcpu, KVM_RUN, NULL, "KVM_RUN");
		if (run->exit_reason == KVM_EXIT_SHUTDOWN || run->exit_reason == KVM_EXIT_FAIL_ENTRY) errx(1, "exit %d", run->exit_reason);
		if (run->exit_reason != KVM_EXIT_IO) continue;
		uint8_t *data = (uint8_t *)run + run->io.data_offset;
		if (run->io.direction == KVM_EXIT_IO_IN) memset(data, 0xff, run->io.size * run->io.count);
		if (run->io.port < Serial || run->io.port >= Serial + 8) continue;
		for (unsigned i = 0; i < run->io.count; i++) serial(run->io.port - Serial, run->io.direction == KVM_EXIT_IO_OUT, data + i * run->io.size);
	}
}

/*
 * Preloaded into User Mode Linux, whose 6.1 knows no more than 2,696 bytes of extended registers. A processor with AMX has 11,008, and PTRACE_SETREGSET
 * takes all of them or fails with EFAULT: the guest's first process then dies ("ptrace set fp regs failed, errno = 14"). Linux 6.13 asks for the size.
 * Here what it does not know keeps its value.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static long (*next)(enum __ptrace_request, ...);

/* Not on the stack, which is a small one of the guest's kernel. That kernel has one processor. */
static char all[1 << 16];

__attribute__((constructor)) static void find(void) { next = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace"); }

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	int pid = va_arg(arguments, int);
	void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
	va_end(arguments);
	long result = next(request, pid, address, data);
	if (result == 0 || request != PTRACE_SETREGSET || (long)address != NT_X86_XSTATE || errno != EFAULT) return result;
	struct iovec *known = data, whole = { all, sizeof all };
	if (next(PTRACE_GETREGSET, pid, address, &whole) != 0 || known->iov_len > whole.iov_len) return result;
	memcpy(all, known->iov_base, known->iov_len);
	return next(PTRACE_SETREGSET, pid, address, &whole);
}
